//! What the numbers were measured on.

use std::fmt;
use std::fs;

use serde::Serialize;

/// The machine that the benchmark ran on; the server's too, if the endpoint is local.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    cpus: usize,
    cpu_model: String,
    memory_bytes: u64,
    kernel: String,
}

impl Machine {
    /// This machine; what cannot be found out stays empty.
    pub(super) fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            cpu_model: field(&read("/proc/cpuinfo"), "model name").to_owned(),
            memory_bytes: kib(&read("/proc/meminfo"), "MemTotal").unwrap_or(0) * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = self.memory_bytes as f64 / f64::from(1 << 30);
        let Self {
            cpus,
            cpu_model,
            kernel,
            ..
        } = self;
        write!(f, "{cpus} × {cpu_model}, {gib:.1} GiB, Linux {kernel}")
    }
}

/// The value of the first line `name: value`.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let mut found = fields.filter(|(key, _)| key.trim() == name);
    found.next().map_or("", |(_, value)| value.trim())
}

/// A field of `/proc` in KiB.
pub(super) fn kib(text: &str, name: &str) -> Option<u64> {
    field(text, name).strip_suffix("kB")?.trim().parse().ok()
}

/// Resident memory of a process, in bytes.
///
/// # Errors
/// No such process, or no `/proc`.
pub(super) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(|error| anyhow::anyhow!("{path}: {error}"))?;
    kib(&text, "VmRSS")
        .map(|kib| kib * 1024)
        .ok_or_else(|| anyhow::anyhow!("{path} has no VmRSS: the process has ended"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_are_read() {
        let text = "model name\t: AMD EPYC: 2\nmodel name\t: other\nVmRSS:\t    1234 kB\nVmX: 1\n";
        assert_eq!(field(text, "model name"), "AMD EPYC: 2");
        assert_eq!(field(text, "model"), "");
        assert_eq!(kib(text, "VmRSS"), Some(1234));
        assert_eq!(kib(text, "VmX"), None);
    }

    #[test]
    fn this_process_has_a_size() {
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000);
        assert!(resident_bytes(u32::MAX).is_err());
    }
}
