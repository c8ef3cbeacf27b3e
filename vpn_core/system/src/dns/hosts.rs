//! `/etc/hosts` (hosts(5)): names that need no server.

use std::net::IpAddr;

/// The addresses that `text` gives to `name`, in order.
pub(super) fn addresses_of(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let of_line = |line: &str| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let address = words.next()?.parse::<IpAddr>().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    };
    text.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_with_the_name_counts_in_either_case_of_letters() {
        let text = "127.0.0.1 localhost\n192.0.2.1 gw.test GW # gw2.test\n2001:db8::1\tgw.test\n# 192.0.2.9 gw.test\n";
        let found = |name| addresses_of(text, name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found("GW.test."), ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(found("gw"), ["192.0.2.1"]);
        assert!(found("gw2.test").is_empty() && found("test").is_empty());
    }
}
