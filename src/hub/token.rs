//! Tokens: who somebody is and which scopes they reach, signed by this hub.
//!
//! A JWT with HS256 and nothing else: no other algorithm is looked at, whatever its
//! header says. Audience, issuer and expiry are checked, and the account's name. A
//! token is never written to a log.

use std::path::Path;
use std::sync::Once;

use hmac::{Hmac, Mac};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result as JwtResult};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::data::{DataDir, ScopeName, is_name};
use super::error::{HubError, Result};
use super::store::Who;

const NAME: &str = "homing";
const TOKEN_BYTES_MAX: usize = 8_192;
const LEEWAY_SECONDS: u64 = 5;

/// The role that may pull and not push.
pub const READER: &str = "reader";

/// What a token is to say.
#[derive(Clone, Debug)]
pub struct Grant {
    pub account: String,
    /// Teams beside the account's own scope.
    pub scopes: Vec<String>,
    /// `reader` may not write; every other role may.
    pub role: String,
    pub ttl_seconds: i64,
    pub may_bring_tables: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub aud: String,
    /// The account.
    pub sub: String,
    #[serde(default)]
    pub scopes: Vec<String>,
    #[serde(default)]
    pub role: String,
    pub jti: String,
    /// Seconds since 1970, with fractions: a token made right after its account's
    /// others were revoked is good.
    pub iat: f64,
    pub exp: i64,
    /// May bring tables and columns.
    #[serde(default = "yes")]
    pub tables: bool,
}

fn yes() -> bool {
    true
}

impl Claims {
    /// The scope a request names, if this token reaches it. Whether it exists makes no
    /// difference to the answer.
    pub fn reach(&self, scope: &str) -> Result<ScopeName> {
        match scope {
            "@me" => Ok(ScopeName::Own(self.sub.clone())),
            team if is_name(team) && self.scopes.iter().any(|own| own == team) => Ok(ScopeName::Team(team.to_owned())),
            _ => Err(HubError::Forbidden),
        }
    }

    pub fn who(&self) -> Who {
        Who {
            account: self.sub.clone(),
            role: self.role.clone(),
            may_write: self.role != READER,
            may_bring_tables: self.tables,
            token_id: self.jti.clone(),
        }
    }
}

/// Makes a token of the hub in `data`. The hub need not run, nor have run.
pub fn issue(data: &Path, grant: &Grant) -> Result<String> {
    let data = DataDir::open(data)?;
    for name in grant.scopes.iter().chain([&grant.account]) {
        if !is_name(name) {
            return Err(HubError::set_up(
                format!("{name:?} cannot be the name of an account or team"),
                "use 1 to 64 bytes without control characters or spaces at the ends, not beginning with @",
            ));
        }
    }
    let now = super::now();
    let claims = Claims {
        iss: NAME.to_owned(),
        aud: NAME.to_owned(),
        sub: grant.account.clone(),
        scopes: grant.scopes.clone(),
        role: grant.role.clone(),
        jti: uuid::Uuid::new_v4().simple().to_string(),
        iat: now as f64 / 1000.0,
        exp: now / 1000 + grant.ttl_seconds,
        tables: grant.may_bring_tables,
    };
    Keys::new(&data.key()?).sign(&claims)
}

/// The hub's key, ready to sign and to check.
pub struct Keys {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl Keys {
    pub fn new(key: &[u8]) -> Keys {
        install();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY_SECONDS;
        validation.set_audience(&[NAME]);
        validation.set_issuer(&[NAME]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Keys { encoding: EncodingKey::from_secret(key), decoding: DecodingKey::from_secret(key), validation }
    }

    pub fn sign(&self, claims: &Claims) -> Result<String> {
        let signed = jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.encoding);
        signed.map_err(|error| HubError::Damaged(format!("cannot sign a token: {error}")))
    }

    /// Good, expired or bad; revocation is the registry's to know.
    pub fn check(&self, token: &str) -> Result<Claims> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(HubError::TokenBad);
        }
        let checked = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.validation);
        let claims = match checked {
            Ok(data) => data.claims,
            Err(error) if *error.kind() == ErrorKind::ExpiredSignature => return Err(HubError::TokenExpired),
            Err(_) => return Err(HubError::TokenBad),
        };
        if is_name(&claims.sub) { Ok(claims) } else { Err(HubError::TokenBad) }
    }

    /// The claims of a token that may have expired, to revoke it.
    pub fn read(&self, token: &str) -> Result<Claims> {
        let mut validation = self.validation.clone();
        validation.validate_exp = false;
        let read = jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation);
        read.map(|data| data.claims).map_err(|_| HubError::TokenBad)
    }
}

/// The signing itself: HMAC with SHA-256, and for every other algorithm no.
fn install() {
    static ONCE: Once = Once::new();
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |algorithm, key| Ok(Box::new(Hs256::new(*algorithm, key.as_bytes())?)),
        verifier_factory: |algorithm, key| Ok(Box::new(Hs256::new(*algorithm, key.try_get_as_bytes()?)?)),
        key_utils: KeyUtils::new_unimplemented(),
    };
    ONCE.call_once(|| {
        // Somebody else's provider can do HS256, too.
        let _ = PROVIDER.install_default();
    });
}

struct Hs256(Hmac<Sha256>);

impl Hs256 {
    fn new(algorithm: Algorithm, key: &[u8]) -> JwtResult<Hs256> {
        match (algorithm, Hmac::new_from_slice(key)) {
            (Algorithm::HS256, Ok(mac)) => Ok(Hs256(mac)),
            _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
        }
    }
}

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, signature::Error> {
        Ok(self.0.clone().chain_update(message).finalize().into_bytes().to_vec())
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        let mac = self.0.clone().chain_update(message);
        mac.verify_slice(signature).map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;

    fn claims() -> Claims {
        Claims {
            iss: NAME.into(),
            aud: NAME.into(),
            sub: "ada".into(),
            scopes: vec!["team".into()],
            role: "member".into(),
            jti: "1".into(),
            iat: 0.5,
            exp: crate::hub::now() / 1000 + 60,
            tables: true,
        }
    }

    /// header.claims signed as HS256 whatever the header says.
    fn forged(header: &str, claims: &str, key: &[u8]) -> String {
        let message = format!("{}.{}", B64.encode(header), B64.encode(claims));
        let mac = Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(&message);
        format!("{message}.{}", B64.encode(mac.finalize().into_bytes()))
    }

    #[test]
    fn a_token_says_who_and_reaches_its_scopes_alone() {
        let keys = Keys::new(b"a key of the hub, 32 bytes long.");
        let back = keys.check(&keys.sign(&claims()).unwrap()).unwrap();
        assert_eq!(back, claims());
        assert_eq!(back.reach("@me").unwrap(), ScopeName::Own("ada".into()));
        assert_eq!(back.reach("team").unwrap(), ScopeName::Team("team".into()));
        for other in ["ada", "bob", "@bob", "", "team/../bob", "TEAM", "@me "] {
            assert!(matches!(back.reach(other), Err(HubError::Forbidden)), "{other}");
        }
    }

    #[test]
    fn forged_tokens_are_bad_and_old_ones_expired() {
        let key = b"a key of the hub, 32 bytes long.";
        let keys = Keys::new(key);
        let json = serde_json::to_string(&claims()).unwrap();
        let good = r#"{"alg":"HS256","typ":"JWT"}"#;
        assert!(keys.check(&forged(good, &json, key)).is_ok());
        let with = |change: &dyn Fn(&mut Claims)| {
            let mut claims = claims();
            change(&mut claims);
            serde_json::to_string(&claims).unwrap()
        };
        let none = format!("{}.{}.", B64.encode(r#"{"alg":"none"}"#), B64.encode(&json));
        for (what, token) in [
            ("alg none", none),
            ("alg none, signed", forged(r#"{"alg":"none"}"#, &json, key)),
            ("alg HS512", forged(r#"{"alg":"HS512"}"#, &json, key)),
            ("alg RS256", forged(r#"{"alg":"RS256"}"#, &json, key)),
            ("alg ES256", forged(r#"{"alg":"ES256"}"#, &json, key)),
            ("kid", forged(r#"{"alg":"HS384","kid":"../../dev/null"}"#, &json, key)),
            ("another key", forged(good, &json, b"another key, just as long as that")),
            ("another aud", forged(good, &with(&|claims| claims.aud = "other".into()), key)),
            ("another iss", forged(good, &with(&|claims| claims.iss = "other".into()), key)),
            ("no account", forged(good, &with(&|claims| claims.sub = String::new()), key)),
            ("account @me", forged(good, &with(&|claims| claims.sub = "@me".into()), key)),
            ("no exp", forged(good, r#"{"iss":"homing","aud":"homing","sub":"ada","jti":"1","iat":1}"#, key)),
            ("rubbish", "a.b.c".into()),
            ("empty", String::new()),
            ("long", "x".repeat(10_000)),
            ("unsigned", format!("{}.{}", B64.encode(good), B64.encode(&json))),
        ] {
            assert!(matches!(keys.check(&token), Err(HubError::TokenBad)), "{what}");
        }
        let expired = forged(good, &with(&|claims| claims.exp -= 120), key);
        assert!(matches!(keys.check(&expired), Err(HubError::TokenExpired)));
        assert_eq!(keys.read(&expired).unwrap().jti, "1");
    }
}
