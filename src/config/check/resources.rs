//! What is served: paths that are nobody else's, and what is behind each.
//!
//! Owns which resources the node has. Driven by `check`.

use std::collections::HashMap;
use std::time::Duration;

use super::super::excerpt::excerpt;
use super::super::file::{ApiKind, Resource, ResourceKind, Users};
use super::super::mask::mask_passwords;
use super::super::problem::{At, ProblemKind, Problems};
use super::super::remote::{Remote, RemoteKind};
use super::super::section::{Field, Items};
use super::super::web::UrlError;
use super::super::{
    Api, ApiConfig, Join, Keep, OnLoss, Slow, StaticConfig, StaticRemote, StreamConfig, WebAddress,
};
use super::users;
use crate::limits::{
    PACING_PERCENT_DEFAULT, REMOTES_PER_STREAM_MAX, RESOURCES_MAX, SERVE_BYTES_MAX,
};

/// What is served, each in the file's order.
#[derive(Default)]
pub(super) struct Served {
    pub(super) streams: Vec<StreamConfig>,
    pub(super) statics: Vec<StaticConfig>,
    pub(super) apis: Vec<ApiConfig>,
}

/// The resources of the file.
pub(super) fn resources(
    resources: Field<Items<Resource>>,
    users: &Users,
    problems: &mut Problems,
) -> Served {
    let (at, resources) = match resources {
        Field::Given(at, resources) => (at, resources),
        Field::Absent => (At::whole_file(), Items { good: Vec::new(), complete: true }),
        Field::Refused => return Served::default(),
    };
    let count = resources.good.len();
    if count > RESOURCES_MAX {
        problems.error(at.clone(), ProblemKind::TooMany { count, max: RESOURCES_MAX });
    }
    if resources.complete && !resources.good.iter().any(may_be_stream) {
        problems.error(at, ProblemKind::NoStream);
    }
    let numbers = Numbers::of(&resources);
    let mut paths = HashMap::new();
    let mut served = Served::default();
    for resource in resources.good {
        served.add(resource, &mut paths, &numbers, users, problems);
    }
    served
}

/// What was refused might be the stream that is missed.
fn may_be_stream(resource: &Resource) -> bool {
    matches!(resource.kind, Field::Given(_, ResourceKind::Stream) | Field::Refused)
}

impl Served {
    fn add(
        &mut self,
        resource: Resource,
        paths: &mut HashMap<String, At>,
        numbers: &Numbers,
        users: &Users,
        problems: &mut Problems,
    ) {
        let Resource { at, remote, api, .. } = resource;
        let path = serve_path(resource.serve, paths, problems);
        let authentication =
            users::authentication(resource.login, resource.token_query, users, problems);
        // Whatever is missing below has been complained about.
        match resource.kind {
            Field::Given(_, ResourceKind::Stream) => {
                let remotes = stream_remotes(&at, remote, resource.remotes, problems);
                let congestion = Some(resource.congestion.or(String::new()));
                let hot = resource.hot.or(false);
                let on_demand = resource.on_demand.given();
                let slate = resource.slate.or(None);
                if let Some((at, _)) = on_demand.as_ref().filter(|_| hot) {
                    let why = "on a `hot` stream, which somebody always wants";
                    problems.error(at.clone(), ProblemKind::NoEffect(why));
                }
                self.streams.extend(path.map(|path| StreamConfig {
                    path,
                    health: resource.health.complete(remotes.len(), slate.is_some()),
                    remotes,
                    reception: resource.reception,
                    preamble: super::path(resource.preamble),
                    order: resource.order,
                    on_loss: resource.on_loss.or(OnLoss::default()),
                    max_connections: super::count(resource.max_connections),
                    hot,
                    on_demand: on_demand.map(|(_, of)| of),
                    join: resource.join.or(Join::RandomAccess),
                    keep: resource.keep.or(Keep::default()),
                    slow: resource.slow.or(Slow::RandomAccess),
                    pacing_percent: resource.pacing.or(Some(PACING_PERCENT_DEFAULT)),
                    slate,
                    congestion: congestion.filter(|name| !name.is_empty()),
                    authentication,
                }));
            }
            Field::Given(_, ResourceKind::Static) => {
                let cache = Duration::from_secs(resource.cache.or(0) as u64);
                let remote = static_remote(&at, remote, problems);
                let both = path.zip(remote);
                self.statics.extend(both.map(|(path, remote)| StaticConfig {
                    path,
                    remote,
                    cache,
                    authentication,
                }));
            }
            Field::Given(_, ResourceKind::Api) => {
                let api = api.given().map(|(_, kind)| match kind {
                    ApiKind::Health => Api::Health,
                    ApiKind::Statistics => Api::Statistics,
                    ApiKind::Prometheus => Api::Prometheus,
                    ApiKind::Check => Api::Check(numbers.find(&at, remote, problems)),
                    ApiKind::Control => Api::Control(numbers.find(&at, remote, problems)),
                });
                let both = path.zip(api);
                self.apis.extend(both.map(|(path, api)| ApiConfig { path, api, authentication }));
            }
            Field::Absent | Field::Refused => {}
        }
    }
}

/// The numbers of the streams by their paths. (If one of them is refused the others' are wrong, but
/// then there is no `Config`.)
struct Numbers {
    by_path: HashMap<String, usize>,
    /// Whether there is no stream whose path is not known.
    complete: bool,
}

impl Numbers {
    fn of(resources: &Items<Resource>) -> Numbers {
        let mut numbers = Numbers { by_path: HashMap::new(), complete: resources.complete };
        let streams = resources.good.iter().filter(|resource| may_be_stream(resource));
        for (number, stream) in streams.enumerate() {
            match &stream.serve {
                Field::Given(_, path) if malformed(path).is_none() => {
                    numbers.by_path.entry(path.clone()).or_insert(number);
                }
                _ => numbers.complete = false,
            }
        }
        numbers
    }

    /// The stream that the API resource at `at` is about. That there is none is a warning, since
    /// the original starts all the same.
    fn find(&self, at: &At, remote: Field<String>, problems: &mut Problems) -> Option<usize> {
        let (at, path) = match remote {
            Field::Given(at, path) => (at, path),
            Field::Absent => (at.key("remote"), String::new()),
            Field::Refused => return None,
        };
        let number = self.by_path.get(&path).copied();
        if number.is_none() && self.complete {
            // A URL, which may be here by mistake, is not repeated.
            let kind = if path.starts_with('/') {
                ProblemKind::NoSuchStream(excerpt(&mask_passwords(&path)))
            } else {
                ProblemKind::NoStreamNamed
            };
            problems.warn(at, kind);
        }
        number
    }
}

/// The path a resource is served on, if it is good and nobody else's.
fn serve_path(
    serve: Field<String>,
    paths: &mut HashMap<String, At>,
    problems: &mut Problems,
) -> Option<String> {
    let (at, path) = serve.given()?;
    let taken = || paths.get(&path).map(At::already_served);
    if let Some(kind) = malformed(&path).or_else(taken) {
        problems.error(at, kind);
        return None;
    }
    paths.insert(path.clone(), at);
    Some(path)
}

/// Why nothing can be served on a path.
fn malformed(path: &str) -> Option<ProblemKind> {
    if path.len() > SERVE_BYTES_MAX {
        Some(ProblemKind::TooLong(SERVE_BYTES_MAX))
    } else if !path.starts_with('/') || path.chars().any(char::is_control) {
        Some(ProblemKind::ServeMalformed)
    } else {
        None
    }
}

/// `remote`, then `remotes`; at least one, unless there was a problem.
fn stream_remotes(
    at: &At,
    remote: Field<String>,
    remotes: Field<Items<(At, String)>>,
    problems: &mut Problems,
) -> Vec<Remote> {
    let mut urls = Vec::new();
    let mut complete = !matches!(remote, Field::Refused) && !matches!(remotes, Field::Refused);
    urls.extend(remote.given().filter(|(_, url)| !url.is_empty()));
    if let Some((_, items)) = remotes.given() {
        complete &= items.complete;
        urls.extend(items.good);
    }
    if urls.is_empty() && complete {
        problems.error(at.clone(), ProblemKind::NoRemote);
    }
    if urls.len() > REMOTES_PER_STREAM_MAX {
        let kind = ProblemKind::TooMany { count: urls.len(), max: REMOTES_PER_STREAM_MAX };
        problems.error(at.key("remotes"), kind);
    }
    let mut good = Vec::with_capacity(urls.len());
    for (at, url) in urls {
        match Remote::parse(&url) {
            Ok(remote) => good.push(remote),
            Err(error) => problems.error(at, error),
        }
    }
    good
}

/// Where a static resource comes from, unless there was a problem.
fn static_remote(at: &At, remote: Field<String>, problems: &mut Problems) -> Option<StaticRemote> {
    let (at, url) = match remote {
        Field::Given(at, url) => (at, url),
        Field::Absent => (at.key("remote"), String::new()),
        Field::Refused => return None,
    };
    let refused = |kind| problems.error(at, kind);
    parse_static(&url).map_err(refused).ok()
}

fn parse_static(url: &str) -> Result<StaticRemote, ProblemKind> {
    match WebAddress::parse(url) {
        Ok(address) => Ok(StaticRemote::Web(address)),
        Err(UrlError::Empty) => Err(ProblemKind::Missing),
        Err(UrlError::Scheme) => {
            let scheme = url.split(':').next().unwrap_or_default();
            if !scheme.eq_ignore_ascii_case("file") {
                return Err(ProblemKind::StaticScheme);
            }
            match Remote::parse(url)?.kind() {
                RemoteKind::File(path) => Ok(StaticRemote::File(path.clone())),
                _ => Err(ProblemKind::StaticScheme),
            }
        }
        Err(error) => Err(error.into()),
    }
}
