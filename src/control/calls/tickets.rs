//! The tickets of a call: which there are, and which died because another device answered.

use vizard_proto::auth::ticket::Ticket;
use vizard_proto::contract::Scope;

use super::Call;
use crate::control::policy::Route;

/// Which of a device's tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// Handed out when the call was opened.
    Opened,
    /// Handed out when the answer made the call direct.
    Answered,
}

impl Call {
    /// Devices whose tickets died because another of the same party answered.
    pub fn all_lost(&self) -> Vec<Scope> {
        (0..self.parties.len())
            .flat_map(|index| self.lost(index))
            .collect()
    }

    /// The devices of party `index` that have a ticket of `generation`, by index.
    pub fn devices(&self, index: usize, generation: Generation) -> Vec<usize> {
        let party = &self.parties[index];
        match (generation, &party.answer) {
            (Generation::Answered, Some(answer)) => vec![answer.device],
            _ => (0..party.device_count()).collect(),
        }
    }

    /// The devices of party `index` whose tickets live as long as the call goes on.
    pub fn living_devices(&self, index: usize) -> Vec<usize> {
        let party = &self.parties[index];
        match &party.answer {
            Some(answer) => vec![answer.device],
            None => (0..party.device_count()).collect(),
        }
    }

    /// Which tickets a device is handed as things are.
    pub fn generation(&self) -> Generation {
        if self.restarted() {
            Generation::Answered
        } else {
            Generation::Opened
        }
    }

    /// The ticket of a device.
    pub fn ticket(&self, index: usize, device: usize, generation: Generation) -> Ticket {
        let count = self.parties[index].device_count();
        let (serial, route) = match generation {
            Generation::Opened => (device, self.opened.route),
            Generation::Answered => (count + device, self.outcome().route),
        };
        Ticket {
            call: self.id,
            party: small(index),
            device: small(serial),
            expires_at: self.expires_at,
            kbps: self.kbps,
            masked: route != Route::Direct,
        }
    }

    /// Every ticket that was handed out.
    pub fn tickets(&self) -> Vec<Ticket> {
        let mut generations = vec![Generation::Opened];
        if self.restarted() {
            generations.push(Generation::Answered);
        }
        let parties = 0..self.parties.len();
        parties
            .flat_map(|index| {
                generations
                    .iter()
                    .map(move |generation| (index, *generation))
            })
            .flat_map(|(index, generation)| {
                let devices = self.devices(index, generation).into_iter();
                devices.map(move |device| self.ticket(index, device, generation))
            })
            .collect()
    }

    /// Whether the answer made the call direct, so that its tickets have a second generation.
    pub fn restarted(&self) -> bool {
        let answered = self.answered.as_ref().map(|outcome| outcome.route);
        self.opened.route != Route::Direct && answered == Some(Route::Direct)
    }

    /// Devices of party `index` that lost: their tickets of the first generation are all they have.
    pub(super) fn lost(&self, index: usize) -> Vec<Scope> {
        let party = &self.parties[index];
        let Some(answer) = &party.answer else {
            return Vec::new();
        };
        (0..party.device_count())
            .filter(|device| *device != answer.device)
            .map(|device| Scope::Device(small(index), small(device)))
            .collect()
    }
}

/// A party's or device's index: below 256 by [`MAX_PARTIES`] and [`MAX_DEVICES`].
fn small(index: usize) -> u8 {
    u8::try_from(index).expect("parties and devices are few")
}
