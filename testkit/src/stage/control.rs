//! The control side's steps.

use std::sync::Arc;

use vizard_proto::auth::ticket::{CallId, TicketKey, TicketKeys};
use vizard_proto::contract::{Command, Scope};

use vizard_proto::time::WallClock;

use super::clients::profiles;
use super::player::Player;
use super::record::Seen;
use super::script::Control;
use super::subject::{Subject, binding};

impl<S: Subject> Player<'_, S> {
    pub(super) fn control(&mut self, control: Control) {
        let command = match control {
            Control::Open(call) => open(call),
            Control::Revoke(call, scope) => revoke(call, scope),
            Control::Policy(number) => self.policy(number),
            Control::Clock(secs) => {
                self.clock = self.clock.saturating_add_signed(secs);
                self.record.reached.note("clock set", 0);
                Command::SetClock(WallClock::new(self.clock))
            }
            Control::Keys(forget) => {
                self.keys += 1;
                Command::SetTicketKeys(Arc::new(keys(self.keys, forget)))
            }
        };
        let done = self.subject.server().command(self.now, command);
        if done.is_err() {
            self.record.reached.note("command refused", 0);
            self.see(Seen::Refused);
        }
    }

    fn policy(&mut self, number: u8) -> Command {
        let config = &self.subject.server().config;
        let mut masking = config.masking.clone();
        let mut limits = config.limits.clone();
        masking.answer_binding = binding(number);
        masking.mapped_v4 = [192, 0, 2, 1 + number % 4].into();
        limits.allocations_per_ticket = 1 + usize::from(number % 16);
        limits.permissions = 1 + usize::from(number % 8);
        Command::SetPolicy { masking, limits }
    }
}

fn open(call: u8) -> Command {
    let usernames = profiles()
        .iter()
        .filter(|profile| profile.ticket.call == CallId([call; 16]))
        .map(|profile| profile.credential.username.clone())
        .collect();
    Command::OpenCall {
        call: CallId([call; 16]),
        until: crate::START + 7200,
        usernames,
    }
}

fn revoke(call: u8, scope: Scope) -> Command {
    Command::Revoke {
        call: CallId([call; 16]),
        scope,
        until: crate::START + 7200,
    }
}

/// A new key in front of the kit's own, which is forgotten or not.
fn keys(number: u8, forget: bool) -> TicketKeys {
    let first = crate::ticket_key();
    let new = TicketKey {
        id: number,
        secret: [number; 32],
    };
    let previous = if forget { vec![] } else { vec![first] };
    TicketKeys::new(&new, &previous)
}
