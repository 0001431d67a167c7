use proptest::prelude::*;

use super::*;

fn cidr(text: &str) -> Cidr {
    text.parse().expect("a CIDR")
}

#[test]
fn a_prefix_is_canonical_once_it_is_read() {
    for (text, want) in [
        ("10.1.2.3/8", "10.0.0.0/8"),
        (" 192.0.2.0/24\t", "192.0.2.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:0DB8:0:0::1/32", "2001:db8::/32"),
        ("::1/128", "::1/128"),
    ] {
        assert_eq!(cidr(text).to_string(), want);
    }
    assert_eq!(cidr("10.1.2.3/8"), cidr("10.0.0.0/8"));
}

#[test]
fn what_is_no_prefix_is_refused() {
    for text in [
        "",
        "10.0.0.1",
        "10.0.0.0/33",
        "2001:db8::/129",
        "10.0.0/8",
        "10.0.0.0 /8",
        "all",
        "10.0.0.0/-1",
    ] {
        assert!(text.parse::<Cidr>().is_err(), "{text:?}");
    }
}

#[test]
fn a_prefix_holds_addresses_of_its_family_only() {
    let address = |text: &str| text.parse().expect("an address");
    assert!(cidr("10.0.0.0/8").contains(address("10.255.255.255")));
    assert!(!cidr("10.0.0.0/8").contains(address("11.0.0.0")));
    assert!(!cidr("0.0.0.0/0").contains(address("::1")));
    assert_eq!(cidr("10.0.0.0/8").family(), IpFamily::V4);
    assert_eq!(cidr("::/0").family(), IpFamily::V6);
}

#[test]
fn families_are_written_as_kubernetes_writes_them() {
    for (family, text) in [(IpFamily::V4, "IPv4"), (IpFamily::V6, "IPv6")] {
        assert_eq!(family.to_string(), text);
        assert_eq!(serde_json::to_value(family).expect("it serialises"), text);
    }
}

proptest! {
    #[test]
    fn reading_what_was_written_gives_the_same(address in any::<IpAddr>(), length in 0_u8..=128) {
        let length = if address.is_ipv4() { length.min(32) } else { length };
        let prefix = cidr(&format!("{address}/{length}"));
        prop_assert_eq!(cidr(&prefix.to_string()), prefix);
        prop_assert!(prefix.contains(address));
        prop_assert_eq!(prefix.net().prefix_len(), length);
        let json = serde_json::to_string(&prefix).expect("it serialises");
        prop_assert_eq!(serde_json::from_str::<Cidr>(&json).expect("it reads"), prefix);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = text.parse::<Cidr>();
    }
}
