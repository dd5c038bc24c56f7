//! What is left in a process's memory of keys and tokens that were replaced.
//!
//! A process of its own, the one that is looked into, does what the daemon does with secret files; this one, which knows what
//! to look for, reads its memory from outside. So nothing is found that the test itself has left there.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};

use aho_corasick::AhoCorasick;
use apono_connector::secrets::{
    CredentialsSource, Curve, GeneratedKey, MountedFile, Reloading, SecretSource, generate_ec, generate_rsa,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;

/// In the folder where the process that is looked into works.
const CREDENTIALS: &str = "okta.json";
const TOKEN: &str = "token";
/// What is written over, or used again, of memory that was given back takes the rest of the secret with it.
const PIECE_OF_TEXT: usize = 24;
const PIECE_OF_NUMBER: usize = 16;

/// The process that is looked into, and the folder with its secrets.
struct Patient {
    folder: TempDir,
    process: Child,
    answers: BufReader<ChildStderr>,
}

impl Patient {
    fn new(credentials: &str, token: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CREDENTIALS), credentials).unwrap();
        fs::write(folder.path().join(TOKEN), token).unwrap();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "the_process_that_is_looked_into", "--nocapture"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(process.stderr.take().unwrap());
        let mut patient = Self { folder, process, answers };
        patient.tell("use");
        patient
    }

    /// Has something done, and waits until it is.
    fn tell(&mut self, what: &str) {
        writeln!(self.process.stdin.as_ref().unwrap(), "{what}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, format!("{what} is done\n"));
    }

    /// Replaces both files, and has the new secrets used.
    fn rotate(&mut self, credentials: &str, token: &str) {
        for (name, text) in [(CREDENTIALS, credentials), (TOKEN, token)] {
            let new = self.folder.path().join("new");
            fs::write(&new, text).unwrap();
            fs::rename(new, self.folder.path().join(name)).unwrap();
        }
        self.tell("use");
    }

    /// Which of these are anywhere in its memory.
    fn holds(&self, needles: &[Needle]) -> Vec<&'static str> {
        let search = AhoCorasick::new(needles.iter().map(|needle| &needle.bytes)).unwrap();
        let at = PathBuf::from(format!("/proc/{}", self.process.id()));
        let (maps, memory) =
            (fs::read_to_string(at.join("maps")).unwrap(), File::open(at.join("mem")).unwrap());
        let (mut found, mut read) = (Vec::new(), 0);
        for line in maps.lines() {
            let mut fields = line.split_ascii_whitespace();
            let (range, rights) = (fields.next().unwrap(), fields.next().unwrap());
            if !rights.starts_with("rw") {
                continue;
            }
            let (start, end) = range.split_once('-').unwrap();
            let (start, end) =
                (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
            let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
            memory.read_exact_at(&mut bytes, start).unwrap_or_else(|error| panic!("{line}: {error}"));
            read += bytes.len();
            found.extend(search.find_iter(&bytes).map(|hit| needles[hit.pattern().as_usize()].what));
        }
        assert!(read > 100_000, "only {read} bytes of its memory were read");
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        // It ends when nobody tells it anything any more.
        drop(self.process.stdin.take());
        self.process.wait().expect("it ends");
    }
}

/// The other process: does what it is told.
#[test]
#[ignore = "is started by the tests here, in a folder with secrets"]
fn the_process_that_is_looked_into() {
    // Whoever runs all tests that are ignored runs it without one.
    if !PathBuf::from(CREDENTIALS).exists() {
        return;
    }
    let source = CredentialsSource::Secret {
        file: MountedFile::new(CREDENTIALS),
        key_id: Some("configured".to_owned()),
    };
    let credentials =
        Reloading::new("Okta credentials", Some(source.file().clone()), move || source.load()).unwrap();
    let file = MountedFile::new(TOKEN);
    let token = Reloading::new("connector token", Some(file.clone()), move || file.read_token()).unwrap();
    let mut held = None;
    for line in io::stdin().lock().lines() {
        let line = line.unwrap();
        match line.as_str() {
            "use" => {
                credentials.current().key.sign(&json!({ "sub": "0oaexample" })).unwrap();
                assert!(!token.current().expose_secret().is_empty());
            }
            "hold" => held = Some((fs::read(CREDENTIALS).unwrap(), fs::read(TOKEN).unwrap())),
            other => panic!("{other}"),
        }
        io::stderr().write_all(format!("{line} is done\n").as_bytes()).unwrap();
    }
    drop(held);
}

/// A part of a secret, as it may stand in memory.
#[derive(Clone)]
struct Needle {
    what: &'static str,
    bytes: Vec<u8>,
}

/// The private members of a key as they stand in its JWK.
fn texts_of(private: &Value) -> Vec<Needle> {
    let members = ["d", "p", "q"].into_iter().filter_map(|member| private[member].as_str());
    members.flat_map(|text| pieces("the text", text.as_bytes(), PIECE_OF_TEXT)).collect()
}

/// The same as numbers, as DER has them.
fn numbers_of(private: &Value) -> Vec<Needle> {
    let members = ["d", "p", "q"].into_iter().filter_map(|member| private[member].as_str());
    let numbers = members.map(|text| URL_SAFE_NO_PAD.decode(text).unwrap());
    numbers.flat_map(|number| pieces("a number", &number, PIECE_OF_NUMBER)).collect()
}

fn pieces(what: &'static str, whole: &[u8], length: usize) -> Vec<Needle> {
    let pieces: Vec<_> =
        whole.chunks_exact(length).map(|piece| Needle { what, bytes: piece.to_vec() }).collect();
    assert!(!pieces.is_empty(), "{what} is too short to be looked for");
    pieces
}

fn private(key: &GeneratedKey) -> Value {
    serde_json::from_str(key.private_jwk.expose_secret()).unwrap()
}

/// As Apono's guide has it: the key as an object.
fn with_object(key: &Value) -> String {
    json!({ "client_id": "0oaexample", "private_key": key }).to_string()
}

/// The same with the key in a string, as JSON or as PEM.
fn with_text(key: &str) -> String {
    json!({ "client_id": "0oaexample", "private_key": key }).to_string()
}

/// PKCS#8 of an RSA key.
fn pem(private: &Value) -> String {
    let number = |name: &str| {
        rsa::BigUint::from_bytes_be(&URL_SAFE_NO_PAD.decode(private[name].as_str().unwrap()).unwrap())
    };
    let primes = vec![number("p"), number("q")];
    let key = rsa::RsaPrivateKey::from_components(number("n"), number("e"), number("d"), primes).unwrap();
    key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
}

const NOTHING: [&str; 0] = [];
const TOKENS: [&str; 2] =
    ["placeholder-token-the-first-one-of-two", "placeholder-token-the-second-one-of-two"];

#[test]
fn nothing_is_left_of_a_key_on_a_curve_or_of_a_token_that_was_replaced() {
    for curve in Curve::ALL {
        let (old, new) = (private(&generate_ec(curve).unwrap()), private(&generate_ec(curve).unwrap()));
        for mounted in [with_object(&old), with_text(&old.to_string())] {
            let mut needles = [texts_of(&old), numbers_of(&old)].concat();
            needles.extend(pieces("the token", TOKENS[0].as_bytes(), PIECE_OF_TEXT));
            let mut patient = Patient::new(&mounted, TOKENS[0]);
            assert!(patient.holds(&needles).contains(&"the token"), "while it is used it is there");
            patient.rotate(&with_object(&new), TOKENS[1]);
            assert_eq!(patient.holds(&needles), NOTHING, "{curve:?}");
        }
    }
}

/// But for what the arithmetic of the `rsa` crate may leave of the primes (docs/security-model.md).
#[test]
fn nothing_is_left_of_an_rsa_key_that_was_replaced() {
    let (old, new) = (private(&generate_rsa(2048).unwrap()), private(&generate_ec(Curve::P256).unwrap()));
    let pem = pem(&old);
    let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    // What comes before holds the modulus, which is nobody's secret.
    let private_part = &base64[base64.len() / 2..];
    let on_one_line = pem.replace('\n', "\\n");
    let forms = [
        with_object(&old),
        with_text(&old.to_string()),
        with_text(&pem),
        with_text(&on_one_line),
        // Escaped where nothing has to be.
        with_text(&old.to_string()).replace('-', "\\u002d").replace('_', "\\u005f"),
    ];
    for (n, mounted) in forms.iter().enumerate() {
        let mut needles = [texts_of(&old), numbers_of(&old)].concat();
        needles.extend(pieces("the text", private_part.as_bytes(), PIECE_OF_TEXT));
        let mut patient = Patient::new(mounted, TOKENS[0]);
        assert!(patient.holds(&needles).contains(&"a number"), "while it is used it is there");
        patient.rotate(&with_object(&new), TOKENS[1]);
        assert_eq!(patient.holds(&needles), NOTHING, "form {n}");
    }
}

/// What is left is found: else the tests here would find nothing whatever is there.
#[test]
fn what_is_left_would_be_found() {
    let [old, new] = [(), ()].map(|()| private(&generate_ec(Curve::P256).unwrap()));
    let mut patient = Patient::new(&with_object(&old), TOKENS[0]);
    patient.tell("hold");
    patient.rotate(&with_object(&new), TOKENS[1]);
    assert_eq!(patient.holds(&texts_of(&old)), ["the text"]);
    assert_eq!(patient.holds(&pieces("the token", TOKENS[0].as_bytes(), PIECE_OF_TEXT)), ["the token"]);
}
