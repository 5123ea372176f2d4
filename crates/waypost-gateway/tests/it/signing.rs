//! Requests to Bedrock, signed.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::StatusCode;
use sha2::{Digest as _, Sha256};
use waypost_lab::http::{HttpProvider, HttpRequest, Script};

use crate::gateway::well;
use crate::rig::{Rig, run};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// What AWS does with a request: the signature that it should have, by the specification.
fn signature(request: &HttpRequest, secret: &str) -> Option<String> {
    let date = request.header("x-amz-date")?;
    let authorization = request.header("authorization")?;
    let field = |name: &str| authorization.split(&[' ', ','][..]).find_map(|part| part.strip_prefix(name));
    let (scope, signed) = (field("Credential=")?.split_once('/')?.1, field("SignedHeaders=")?);
    let headers: String = signed
        .split(';')
        .map(|name| Some(format!("{name}:{}\n", request.header(name)?.trim())))
        .collect::<Option<_>>()?;
    let body = hex(&Sha256::digest(&request.body));
    let canonical = format!("POST\n{}\n\n{headers}\n{signed}\n{body}", request.path);
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(&canonical)));
    let key = scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, part| mac(&key, part));
    assert!(signed.contains("host") && scope.ends_with("/us-east-1/bedrock/aws4_request"), "{authorization}");
    Some(hex(&mac(&key, &text)))
}

#[test]
fn requests_to_bedrock_are_signed_as_aws_checks_it() {
    run(async {
        let checks = |request: &HttpRequest| {
            let expected = signature(request, "secret-key");
            let authorization = request.header("authorization").unwrap_or_default();
            let is_signed =
                expected.is_some_and(|signature| authorization.ends_with(&format!("Signature={signature}")));
            let has_token = request.header("x-amz-security-token") == Some("token");
            if is_signed && has_token {
                well(request)
            } else {
                Script::status(403, &[], r#"{"message":"bad signature"}"#)
            }
        };
        let provider = HttpProvider::start(checks).await.unwrap();
        let folder = std::env::temp_dir().join(format!("waypost-aws-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, secret: &str| {
            std::fs::write(folder.join(name), secret).unwrap();
            format!("{{ file = {:?} }}", folder.join(name))
        };
        let text = |secret: &str| {
            format!(
                "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
                 [providers.b]\ntype = \"bedrock\"\nendpoint = \"http://{}/openai/v1\"\n\
                 aws = {{ region = \"us-east-1\", access_key = {}, secret_key = {}, session_token = {} }}\n\
                 [models.m]\ncandidates = [{{ provider = \"b\", model = \"openai.gpt-oss-20b-1:0\" }}]\n",
                provider.address(),
                file("access", "AKIDEXAMPLE"),
                file("secret", secret),
                file("token", "token"),
            )
        };
        let (right, wrong) = (text("secret-key"), text("another"));
        std::fs::write(folder.join("secret"), "secret-key").unwrap();
        let rig = Rig::with_text(vec![], &right).await;
        for stream in [false, true] {
            assert_eq!(rig.chat(stream).await.status, StatusCode::OK);
        }
        std::fs::write(folder.join("secret"), "another").unwrap();
        let other = Rig::with_text(vec![], &wrong).await;
        assert_ne!(other.chat(false).await.status, StatusCode::OK, "the check can fail");
        std::fs::remove_dir_all(&folder).unwrap();
    });
}

#[test]
fn credentials_that_do_not_go_together_are_told() {
    let text =
        |line: &str| format!("[providers.b]\n{line}\n[models.m]\ncandidates = [{{ provider = \"b\" }}]\n");
    let told = |line: &str| {
        waypost_gateway::Config::read("w", &text(line))
            .err()
            .map(|errors| errors.lines().collect::<Vec<_>>().join("\n"))
            .unwrap_or_default()
    };
    assert!(told("type = \"bedrock\"\naws = { region = \"eu-west-1\" }").contains("both needed"));
    assert!(told("type = \"openai\"\naws = { region = \"eu-west-1\" }").contains("only requests to bedrock"));
    assert!(told("type = \"bedrock\"").contains("`endpoint` is missing"));
}
