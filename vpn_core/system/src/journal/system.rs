//! Which boot of which system this is.

use super::SystemId;

impl SystemId {
    /// Of this process.
    #[cfg(target_os = "linux")]
    pub(super) fn current() -> Self {
        use std::fs;

        Self {
            boot: fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned(),
            namespace: fs::read_link("/proc/thread-self/ns/net")
                .map(|link| link.display().to_string())
                .unwrap_or_default(),
        }
    }

    /// Of this process. There are no network namespaces.
    #[cfg(target_os = "macos")]
    pub(super) fn current() -> Self {
        let boot = super::sysctl::read("kern.bootsessionuuid").unwrap_or_default();
        Self { boot, namespace: String::new() }
    }
}
