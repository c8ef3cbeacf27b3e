//! What `scutil --dns` says of the name servers of each interface. Pure.

use super::{ResolvConf, Server};

/// Begins the part that lists servers by their interfaces.
const SCOPED: &str = "DNS configuration (for scoped queries)";

/// The servers of the network behind `interface`, in the output of `scutil --dns`. Servers of a tunnel are not among them: those
/// are for all queries, and of no interface.
pub(super) fn servers_of(output: &str, interface: &str) -> ResolvConf {
    let Some((_, scoped)) = output.split_once(SCOPED) else { return ResolvConf::default() };
    let marker = format!("({interface})");
    let resolvers = scoped.split("resolver #").skip(1);
    let is_its = |resolver: &&str| {
        let mut fields = resolver.lines().filter_map(field);
        fields.any(|(name, value)| name == "if_index" && value.ends_with(&marker))
    };
    resolvers.filter(is_its).fold(ResolvConf::default(), |mut found, resolver| {
        for (name, value) in resolver.lines().filter_map(field) {
            if name.starts_with("nameserver") {
                found.servers.extend(server(value));
            } else if name.starts_with("search domain") {
                found.search.push(value.to_owned());
            }
        }
        found
    })
}

fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(" : ")?;
    Some((name.trim(), value.trim()))
}

fn server(text: &str) -> Option<Server> {
    let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    Some(Server { address: address.parse().ok()?, zone: zone.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
DNS configuration

resolver #1
  nameserver[0] : 10.66.0.1
  flags    : Supplemental, Request A records
  order    : 1

DNS configuration (for scoped queries)

resolver #1
  search domain[0] : lan
  nameserver[0] : 192.168.1.1
  nameserver[1] : fe80::1%en0
  if_index : 4 (en0)
  flags    : Scoped, Request A records
  reach    : 0x00020002 (Reachable,Directly Reachable Address)

resolver #2
  nameserver[0] : 172.20.10.1
  if_index : 14 (en01)
";

    fn found(interface: &str) -> Vec<String> {
        let found = servers_of(OUTPUT, interface);
        found.servers.iter().map(|server| format!("{} {:?}", server.address, server.zone)).collect()
    }

    #[test]
    fn only_the_servers_of_the_interface_are_found() {
        assert_eq!(found("en0"), ["192.168.1.1 None", "fe80::1 Some(\"en0\")"]);
        assert_eq!(found("en01"), ["172.20.10.1 None"]);
        assert_eq!(servers_of(OUTPUT, "en0").search, ["lan"]);
        assert!(found("utun66").is_empty() && found("0").is_empty());
        assert_eq!(servers_of("", "en0"), ResolvConf::default());
    }
}
