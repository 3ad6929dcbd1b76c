use super::*;

fn stream(path: &str, state: &str, error: Option<&str>) -> Stream {
    let available = ["connected", "idle"].contains(&state);
    let (path, state) = (path.to_owned(), state.to_owned());
    let last_error = error.map(str::to_owned);
    Stream { path, state, available, last_error, conditions: Vec::new() }
}

fn health(status: &str) -> Health {
    Health { status: status.to_owned(), viewer: 7 }
}

#[test]
fn any_stream_all_of_them_or_some() {
    let streams = [
        stream("/a.ts", "connected", Some("of yesterday")),
        stream("/b.ts", "waiting", Some("upstream tcp://h:1 refused")),
    ];
    let well = Ok("ok: 1 of 2 streams connected, 7 viewers".to_owned());
    let ill = "/b.ts is waiting: upstream tcp://h:1 refused";
    let lost = || Err(Illness::Stream(ill.to_owned()));
    let of = |wishes: &Wishes| judge(&Live::default(), &streams, &health("ok"), wishes);
    let some = |path: &str| Wishes { streams: vec![path.to_owned()], ..Wishes::default() };
    assert_eq!(of(&Wishes::default()), well);
    assert_eq!(of(&Wishes { all: true, ..Wishes::default() }), lost());
    assert_eq!(of(&some("/a.ts")), well);
    assert_eq!(of(&some("/b.ts")), lost());
    assert_eq!(of(&some("/c.ts")), Err(Illness::Unknown("/c.ts".to_owned())));
    let none = judge(&Live::default(), &streams[1..], &health("ok"), &Wishes::default());
    assert_eq!(none, Err(Illness::NoStream { streams: 1, first: ill.to_owned() }));
}

#[test]
fn a_connection_by_which_nothing_comes_is_none() {
    let of = |conditions: &[&str], wishes: &Wishes| {
        let conditions = conditions.iter().map(|&word| word.to_owned()).collect();
        let streams = [Stream { conditions, ..stream("/a.ts", "connected", None) }];
        judge(&Live::default(), &streams, &health("ok"), wishes)
    };
    let all = Wishes { all: true, ..Wishes::default() };
    for word in ["no_data", "no_sync"] {
        let said = format!("/a.ts is connected, but nothing to watch comes ({word})");
        assert_eq!(of(&[word], &all), Err(Illness::Stream(said.clone())));
        let none = of(&["bitrate", word], &Wishes::default());
        assert_eq!(none, Err(Illness::NoStream { streams: 1, first: said }));
    }
    // Radio, and what only some may see.
    of(&["no_video", "scrambled", "bitrate", "no_tables"], &all).unwrap();
}

#[test]
fn a_stream_that_nobody_wants_is_not_ill() {
    let streams =
        [stream("/a.ts", "connected", None), stream("/b.ts", "idle", Some("of yesterday"))];
    let of = |streams: &[Stream], wishes: &Wishes| {
        judge(&Live::default(), streams, &health("ok"), wishes).unwrap()
    };
    let all = Wishes { all: true, ..Wishes::default() };
    assert_eq!(of(&streams, &all), "ok: 1 of 2 streams connected, 1 idle, 7 viewers");
    let it = Wishes { streams: vec!["/b.ts".to_owned()], ..Wishes::default() };
    assert_eq!(of(&streams, &it), "ok: 1 of 2 streams connected, 1 idle, 7 viewers");
    let none = of(&streams[1..], &Wishes::default());
    assert_eq!(none, "ok: 0 of 1 streams connected, 1 idle, 7 viewers");
}

#[test]
fn a_node_without_streams_has_none_to_lose() {
    let said =
        judge(&Live::default(), &[], &health("ok"), &Wishes { all: true, ..Wishes::default() });
    assert_eq!(said.unwrap(), "ok: 0 of 0 streams connected, 7 viewers");
}

#[test]
fn a_node_whose_loop_stands_still_is_not_well() {
    let live: Live = serde_json::from_str(r#"{"status":"stuck","workers":[1]}"#).unwrap();
    let streams = [stream("/a.ts", "connected", None)];
    let said = judge(&live, &streams, &health("ok"), &Wishes::default()).unwrap_err();
    assert_eq!(said.to_string(), "the loops of workers [1] stand still");
    let live: Live = serde_json::from_str(r#"{"status":"ok"}"#).unwrap();
    judge(&live, &streams, &health("ok"), &Wishes::default()).unwrap();
}

#[test]
fn full_and_draining_matter_to_those_who_bring_viewers() {
    let streams = [stream("/a.ts", "connected", None)];
    for word in ["full", "draining"] {
        let of = |ready| {
            judge(&Live::default(), &streams, &health(word), &Wishes { ready, ..Wishes::default() })
        };
        assert_eq!(of(false).unwrap(), format!("{word}: 1 of 1 streams connected, 7 viewers"));
        assert_eq!(of(true), Err(Illness::NotReady { status: word.to_owned(), viewers: 7 }));
    }
}

#[test]
fn a_node_that_listens_everywhere_is_asked_on_the_loopback() {
    for (side, address) in [
        (":9470", "127.0.0.1:9470"),
        ("0.0.0.0:9470", "127.0.0.1:9470"),
        ("[::]:9470", "[::1]:9470"),
        ("10.0.0.1:1", "10.0.0.1:1"),
        ("[fd00::1]:1", "[fd00::1]:1"),
        ("localhost:1", "localhost:1"),
    ] {
        assert_eq!(SidePort::at(side.parse().unwrap()).unwrap().address, address);
    }
    let none = SidePort::at(Asked { side: None, credentials: None });
    assert!(matches!(none, Err(OperatorError::NoSidePort)));
    let any = SidePort::at("localhost:0".parse().unwrap());
    assert!(matches!(any, Err(OperatorError::AnyPort)));
}
