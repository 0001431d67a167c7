//! What went through the load balancer of a Service, where its provider counts it (Decides).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    ink::Ink,
    samples::{Sample, samples},
    table::{Cell, Table},
};

/// The counters of one Service, since its data plane began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Traffic {
    /// By what clients connect to, for example `127.77.0.1:80/TCP`.
    pub listeners: BTreeMap<String, Counters>,
    /// By node and address, for example `node-1 10.0.0.1:30080`. Of very many the busiest.
    pub targets: BTreeMap<String, Counters>,
}

/// The counters of a listener or of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counters {
    /// Connections open now.
    pub open: u64,
    /// Connections so far.
    pub connections: u64,
    /// Clients that were refused: by their address, or because no target was there. A listener's only.
    pub refused: u64,
    /// Attempts to reach a target that failed.
    pub connect_failures: u64,
    /// Bytes from clients to targets.
    pub received_bytes: u64,
    /// Bytes from targets to clients.
    pub sent_bytes: u64,
}

/// Those of all Services, by namespace and name, from the text that Prometheus reads.
pub fn read(text: &str) -> BTreeMap<(String, String), Traffic> {
    let mut all: BTreeMap<_, Traffic> = BTreeMap::new();
    for sample in samples(text) {
        let Some(name) = sample.name.strip_prefix("evenkeel_dataplane_") else {
            continue;
        };
        let service = (
            sample.label("namespace").to_owned(),
            sample.label("service").to_owned(),
        );
        if service.1.is_empty() {
            continue;
        }
        let traffic = all.entry(service).or_default();
        let (name, counters) = match name.strip_prefix("target_") {
            Some(name) => (name, traffic.targets.entry(target(&sample)).or_default()),
            None => (
                name,
                traffic.listeners.entry(listener(&sample)).or_default(),
            ),
        };
        let counter = match name {
            "connections_open" => &mut counters.open,
            "connections_accepted_total" | "connections_total" => &mut counters.connections,
            "connections_refused_total" => &mut counters.refused,
            "connect_failures_total" => &mut counters.connect_failures,
            "received_bytes_total" => &mut counters.received_bytes,
            "sent_bytes_total" => &mut counters.sent_bytes,
            _ => continue,
        };
        // Refusals come by reason.
        *counter += sample.count();
    }
    all
}

fn target(sample: &Sample<'_>) -> String {
    format!("{} {}", sample.label("node"), sample.label("target"))
}

fn listener(sample: &Sample<'_>) -> String {
    let (address, port) = (sample.label("address"), sample.label("port"));
    let protocol = sample.label("protocol");
    if address.contains(':') {
        format!("[{address}]:{port}/{protocol}")
    } else {
        format!("{address}:{port}/{protocol}")
    }
}

impl Traffic {
    /// A row for each listener and target.
    pub fn render(&self, ink: Ink) -> String {
        let mut table = Table::new(["TRAFFIC", "OPEN", "TOTAL", "REFUSED", "FAILED", "IN", "OUT"]);
        for (name, counters) in self.listeners.iter().chain(&self.targets) {
            let Counters {
                open,
                connections,
                refused,
                connect_failures,
                received_bytes,
                sent_bytes,
            } = counters;
            let mut cells = vec![Cell::plain(name)];
            cells.extend(
                [open, connections, refused, connect_failures]
                    .map(|count| Cell::plain(count.to_string())),
            );
            cells.extend([received_bytes, sent_bytes].map(|count| Cell::plain(bytes(*count))));
            table.row(cells);
        }
        table.render(ink)
    }
}

/// A number of bytes as people read it.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count}B");
    }
    let power = count.ilog2() / 10;
    let unit = UNITS[power as usize - 1];
    // Two more digits than the whole ones say enough.
    let hundredths = (u128::from(count) * 100) >> (10 * power);
    format!("{}.{:02}{unit}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# TYPE evenkeel_dataplane_connections_open gauge
evenkeel_queue_depth 3
evenkeel_dataplane_leases 2
evenkeel_dataplane_connections_open{namespace="shop",service="checkout",address="127.77.0.1",port="80",protocol="TCP"} 2
evenkeel_dataplane_connections_accepted_total{namespace="shop",service="checkout",address="127.77.0.1",port="80",protocol="TCP"} 7
evenkeel_dataplane_connections_refused_total{namespace="shop",service="checkout",address="127.77.0.1",port="80",protocol="TCP",reason="source_range"} 3
evenkeel_dataplane_connections_refused_total{namespace="shop",service="checkout",address="127.77.0.1",port="80",protocol="TCP",reason="no_target"} 1
evenkeel_dataplane_received_bytes_total{namespace="shop",service="checkout",address="fd00::1",port="80",protocol="TCP"} 1536
evenkeel_dataplane_target_connections_total{namespace="shop",service="checkout",node="a",target="10.0.0.1:30080"} 6
evenkeel_dataplane_target_sent_bytes_total{namespace="blog",service="web",node="a",target="10.0.0.1:30081"} 5
"#;

    #[test]
    fn every_counter_goes_to_its_service() {
        let all = read(TEXT);
        let key = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
        assert_eq!(all.len(), 2, "{all:?}");
        let checkout = &all[&key("shop", "checkout")];
        assert_eq!(
            checkout.listeners["127.77.0.1:80/TCP"],
            Counters {
                open: 2,
                connections: 7,
                refused: 4,
                ..Counters::default()
            }
        );
        assert_eq!(checkout.listeners["[fd00::1]:80/TCP"].received_bytes, 1536);
        assert_eq!(checkout.targets["a 10.0.0.1:30080"].connections, 6);
        let web = &all[&key("blog", "web")];
        assert_eq!(web.targets["a 10.0.0.1:30081"].sent_bytes, 5);
    }

    #[test]
    fn the_page_has_a_row_for_each() {
        let page = read(TEXT)[&("shop".to_owned(), "checkout".to_owned())].render(Ink::Plain);
        let want = [
            "TRAFFIC             OPEN   TOTAL   REFUSED   FAILED   IN        OUT",
            "127.77.0.1:80/TCP   2      7       4         0        0B        0B",
            "[fd00::1]:80/TCP    0      0       0         0        1.50KiB   0B",
            "a 10.0.0.1:30080    0      6       0         0        0B        0B",
        ];
        assert_eq!(page.lines().collect::<Vec<_>>(), want);
    }

    #[test]
    fn bytes_are_read_by_people() {
        for (count, want) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00KiB"),
            (1536, "1.50KiB"),
            (1 << 20, "1.00MiB"),
            (u64::MAX, "15.99EiB"),
        ] {
            assert_eq!(bytes(count), want);
        }
    }
}
