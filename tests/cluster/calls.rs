//! Calls that nobody honest makes, to every method of the public API as proto/haft/v1 lists them: noise, nothing,
//! too much, no certificate; and bytes on the ports that are no TLS at all. Each ends with a status, none changes anything.
//!
//! The peer port's own messages are tested with the consensus suite.

use haft_api::client::{Credentials, TLS_NAME, dial};
use haft_tests::coordinators::Coordinators;
use haft_tests::seed::Seed;
use prost::bytes::{Buf, BufMut};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

/// How long one call may take before the test says that it hangs; calls that answer do so in milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// After this long without a word a stream that may be silent is taken to be so.
const QUIET: Duration = Duration::from_millis(200);

/// Bytes as they are, in both directions.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;
    fn encoder(&mut self) -> Raw {
        Raw
    }
    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining()).to_vec()))
    }
}

/// A method of the public API.
#[derive(Clone, Debug)]
pub(crate) struct Method {
    pub(crate) path: String,
    streams: Streams,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Streams {
    Neither,
    Answers,
    Both,
}

/// Every method that the proto files name, so that a new one is tested from its first day.
pub(crate) fn methods() -> Vec<Method> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/haft/v1");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let mut service = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("service ") {
                rest.trim_end_matches(" {").clone_into(&mut service);
            }
            let Some(rest) = line.strip_prefix("rpc ") else {
                continue;
            };
            let (name, rest) = rest.split_once('(').unwrap();
            let streams = match rest.matches("stream ").count() {
                0 => Streams::Neither,
                1 => Streams::Answers,
                2 => Streams::Both,
                more => panic!("{more} streams in {line}"),
            };
            found.push(Method {
                path: format!("/haft.v1.{service}/{name}"),
                streams,
            });
        }
    }
    assert!(
        found.len() >= 20,
        "the proto files were not found: {found:?}"
    );
    found
}

/// What it means when a stream of answers is open and says nothing.
#[derive(Clone, Copy)]
enum Silence {
    /// A watch with nothing to tell may be silent.
    IsAnAnswer,
    /// A refusal must come, on a busy machine late.
    IsAHang,
}

/// One call with one message; what came back first.
async fn call(
    channel: &Channel,
    method: &Method,
    body: Vec<u8>,
    silence: Silence,
) -> Result<Vec<u8>, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let path = method.path.parse().unwrap();
    let mut answers = match method.streams {
        Streams::Neither => {
            return grpc
                .unary(Request::new(body), path, Raw)
                .await
                .map(tonic::Response::into_inner);
        }
        Streams::Answers => grpc
            .server_streaming(Request::new(body), path, Raw)
            .await?
            .into_inner(),
        Streams::Both => {
            let once = tokio_stream::once(body);
            grpc.streaming(Request::new(once), path, Raw)
                .await?
                .into_inner()
        }
    };
    let quiet = match silence {
        Silence::IsAnAnswer => QUIET,
        Silence::IsAHang => PATIENCE,
    };
    match tokio::time::timeout(quiet, answers.message()).await {
        Ok(answer) => answer.map(Option::unwrap_or_default),
        Err(_) => Ok(Vec::new()),
    }
}

pub(crate) async fn answered(
    channel: &Channel,
    method: &Method,
    body: Vec<u8>,
) -> Result<Vec<u8>, Status> {
    let what = format!("{} with {} bytes", method.path, body.len());
    tokio::time::timeout(PATIENCE, call(channel, method, body, Silence::IsAnAnswer))
        .await
        .unwrap_or_else(|_| panic!("{what} hangs"))
}

/// The refusal that must come, however busy the machine is.
async fn refused(channel: &Channel, method: &Method, body: Vec<u8>) -> Status {
    let what = format!("{} with {} bytes", method.path, body.len());
    tokio::time::timeout(PATIENCE, call(channel, method, body, Silence::IsAHang))
        .await
        .unwrap_or_else(|_| panic!("{what} hangs"))
        .expect_err(&what)
}

/// A cluster of one that leads.
fn alone() -> Coordinators {
    let mut cluster = Coordinators::prepare();
    cluster.init();
    cluster.found();
    cluster
}

/// The PEM block under a key of the context file that init wrote.
fn pem(cluster: &Coordinators, key: &str) -> String {
    let text = fs::read_to_string(cluster.folder.path().join("context.yaml")).unwrap();
    let lines = text
        .lines()
        .skip_while(|line| *line != format!("{key}: |"))
        .skip(1)
        .take_while(|line| line.starts_with("  "));
    lines.fold(String::new(), |pem, line| pem + line.trim() + "\n")
}

pub(crate) fn credentials(cluster: &Coordinators) -> Credentials {
    Credentials {
        ca_pem: pem(cluster, "ca"),
        certificate_pem: pem(cluster, "certificate"),
        key_pem: pem(cluster, "key"),
    }
}

/// What an administrator sees of the objects; hostile calls must leave it as it was.
fn objects(cluster: &Coordinators) -> Vec<serde_json::Value> {
    ["node", "vip", "fencedevice"]
        .map(|kind| cluster.json(&["get", kind]).unwrap())
        .to_vec()
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn noise_in_every_method_ends_with_a_status_and_changes_nothing() {
    let seed = Seed::new();
    let mut random = seed.stream();
    let cluster = alone();
    let before = objects(&cluster);
    runtime().block_on(async {
        let api = format!("{}:7400", cluster.host("n1"));
        let channel = dial(&api, &credentials(&cluster)).await.unwrap();
        for method in methods() {
            let _empty_message_may_be_right = answered(&channel, &method, Vec::new()).await;
            for _ in 0..20 {
                let length = random.below(200) + 1;
                let body = random.bytes(length);
                // A read may find nothing wrong in fields that it does not know.
                let _status = answered(&channel, &method, body).await;
            }
            let huge = vec![0x0a; 3 << 20];
            let status = refused(&channel, &method, huge).await;
            assert!(
                matches!(
                    status.code(),
                    Code::OutOfRange | Code::ResourceExhausted | Code::PermissionDenied
                ),
                "{}: {status:?}",
                method.path
            );
        }
    });
    assert_eq!(
        objects(&cluster),
        before,
        "a hostile call changed something"
    );
    assert!(!cluster.log_text("n1").contains("panicked"));
}

#[test]
fn without_a_certificate_only_a_join_is_heard() {
    let cluster = alone();
    runtime().block_on(async {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(pem(&cluster, "ca")))
            .domain_name(TLS_NAME);
        let channel = Endpoint::from_shared(format!("https://{}:7400", cluster.host("n1")))
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect()
            .await
            .unwrap();
        for method in methods() {
            let status = refused(&channel, &method, Vec::new()).await;
            if method.path.ends_with("/Join") {
                assert_ne!(status.code(), Code::Unauthenticated, "{status:?}");
            } else {
                assert!(
                    matches!(
                        status.code(),
                        Code::Unauthenticated | Code::PermissionDenied
                    ),
                    "{}: {status:?}",
                    method.path
                );
            }
        }
    });
}

#[test]
fn bytes_that_are_no_tls_are_hung_up_on_and_cost_nothing() {
    let seed = Seed::new();
    let mut random = seed.stream();
    let cluster = alone();
    for port in [7400, 7401] {
        for round in 0..10 {
            let mut stream = TcpStream::connect((cluster.host("n1"), port)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let length = random.below(4_000) + 1;
            let mut noise = random.bytes(length);
            if round % 2 == 0 {
                // The head of a TLS record, then noise.
                noise.splice(..0, [0x16, 0x03, 0x01, 0x01, 0x00, 0x01]);
            }
            // It may hang up in the middle of it.
            let _written = stream.write_all(&noise);
            let _shut = stream.shutdown(std::net::Shutdown::Write);
            let mut rest = Vec::new();
            match stream.read_to_end(&mut rest) {
                Ok(_) => {}
                Err(error) => assert!(
                    matches!(error.kind(), std::io::ErrorKind::ConnectionReset),
                    "port {port} neither answers nor hangs up: {error}"
                ),
            }
        }
    }
    cluster.wait_for("it to serve on", |status| status["quorum"] == true);
    assert!(!cluster.log_text("n1").contains("panicked"));
}
