//! A viewer whose host has vanished is freed within 30 s, whether its stream sends or not.

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;
use support::crowd::{Crowd, Pace};
use support::hosts::Hosts;
use support::node::{Node, stream};
use support::source::{Source, Speech};

const PROMISED: Duration = Duration::from_secs(30);

#[test]
fn a_viewer_whose_host_has_vanished_is_freed() {
    let hosts = Hosts::new("gone");
    let (node, source, silent) = Hosts::on(&hosts.node, || {
        let source = Source::start(Speech::Raw, 1_000_000);
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let quiet = format!("tcp://{}", silent.local_addr().unwrap());
        let node = Node::with(&json!({ "listen": "10.213.0.2:0", "resources": [
            stream("/live.ts", &source.url(Speech::Raw)), stream("/quiet.ts", &quiet),
        ] }));
        node.await_connected();
        node.await_connected();
        (node, source, silent)
    });
    let mut crowd = Crowd::new();
    let mut crowd = Hosts::on(&hosts.sender, || {
        crowd.join(node.address, "/live.ts", 3, Pace::Fast);
        crowd.join(node.address, "/quiet.ts", 3, Pace::Fast);
        crowd
    });
    crowd.watch(Duration::from_millis(200));
    let cut = Instant::now();
    hosts.cut();
    Hosts::on(&hosts.node, || {
        for path in ["/live.ts", "/quiet.ts"] {
            let labels = format!("reason=\"vanished\",stream=\"{path}\"");
            node.await_count("restreamer_viewers_ended_total", &labels, 3);
            assert_eq!(node.count("streaming_connections", path), 0);
        }
        assert!(cut.elapsed() < PROMISED, "it took {:?}", cut.elapsed());
        drop(node);
    });
    drop((source, silent));
}
