//! What a server costs, read from `/proc`.

use std::fs;
use std::time::Duration;

use super::Fault;

/// A process on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    /// The process with that id, which has to exist.
    pub(crate) fn new(pid: u32) -> Result<Self, Fault> {
        let process = Self(pid);
        if process.cpu().is_none() {
            return Err(Fault::Failed(format!(
                "there is no process {pid} whose CPU time can be read\n  help: give the id of the \
                 server, on this machine: --pid $(pidof turnserver)"
            )));
        }
        Ok(process)
    }

    /// The CPU time that all of its threads have used, to the nanosecond.
    pub(crate) fn cpu(self) -> Option<Duration> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0)).ok()?;
        let mut sum = 0;
        for thread in threads.flatten() {
            // A thread that ends meanwhile has no file.
            let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            sum += text.split(' ').next()?.parse::<u64>().unwrap_or(0);
        }
        (sum > 0).then(|| Duration::from_nanos(sum))
    }

    /// The memory that it holds, in bytes.
    pub(crate) fn memory(self) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_time_and_memory() {
        let me = Process::new(std::process::id()).expect("we are there");
        let before = me.cpu().expect("readable");
        let mut sum = 1_u64;
        while me.cpu().expect("readable") == before {
            sum = std::hint::black_box(sum.wrapping_mul(3));
        }
        assert!(me.cpu() > Some(before));
        assert!(me.memory() > Some(1 << 16));
        assert!(Process::new(u32::MAX).is_err());
    }
}
