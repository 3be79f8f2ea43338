//! What the process takes of the machine, under the names that Prometheus' clients use. Only Linux tells it.

/// Clock ticks of `/proc` in a second: `USER_HZ`, which is 100 on every architecture that this runs on (proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Measures it anew.
pub(crate) fn measure() {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).ok();
    if let Some(bytes) = read("status").as_deref().and_then(resident_bytes) {
        metrics::gauge!("process_resident_memory_bytes").set(bytes);
    }
    if let Some(seconds) = read("stat").as_deref().and_then(cpu_seconds) {
        metrics::gauge!("process_cpu_seconds_total").set(seconds);
    }
}

/// `VmRSS` of `/proc/self/status`, which is given in kB.
pub(super) fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024.0)
}

/// `utime` and `stime` of `/proc/self/stat`: fields 14 and 15, counted after the name, which may hold spaces.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut ticks = after_name.split_whitespace().skip(11);
    let user: f64 = ticks.next()?.parse().ok()?;
    let system: f64 = ticks.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_tells_is_read() {
        let status = "Name:\tdown beat\nVmPeak:\t  900 kB\nVmRSS:\t   2048 kB\nThreads:\t3\n";
        assert_eq!(resident_bytes(status), Some(2_097_152.0));
        let stat = "17 (down ) beat) S 1 17 17 0 -1 4194560 1 2 3 4 250 150 0 0 20 0 3 0 9 8 7";
        assert_eq!(cpu_seconds(stat), Some(4.0));
        assert_eq!(
            (resident_bytes("Name: x"), cpu_seconds("17 (x")),
            (None, None)
        );
    }
}
