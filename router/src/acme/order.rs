//! One order at the authority, from the names to the certificate.
//!
//! Guarantees: an order ends within the time it is given; no answer to a challenge outlives it;
//! the private key is new for each order and leaves the process only in the finished PEM. A crash
//! in the middle leaves an order at the authority that expires by itself.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, CertificateIdentifier, Error, Identifier,
    NewOrder, Order, OrderStatus,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::challenges::{Challenges, Offer};
use super::failure::{Failure, FailureKind, in_words, short_type};
use super::nonce::{TRIES, patiently, refused};
use super::way::Way;

/// What is asked for.
pub(crate) struct Wanted<'a> {
    /// The names, in one certificate.
    pub(crate) hosts: &'a [String],
    /// How control over them is shown, where the authority offers it.
    pub(crate) way: Way,
    /// The certificate this one takes the place of (RFC 9773, 5).
    pub(crate) replaces: Option<CertificateIdentifier<'a>>,
    /// The profile, taken when the authority offers it.
    pub(crate) profile: Option<&'a str>,
    /// How long it may take in all.
    pub(crate) within: Duration,
}

/// Orders a certificate and answers with its PEM: the private key (PKCS#8), then the chain.
pub(crate) async fn order(
    account: &Account,
    wanted: Wanted<'_>,
    challenges: &Arc<Challenges>,
) -> Result<String, Failure> {
    let within = wanted.within;
    match tokio::time::timeout(within, run(account, wanted, challenges)).await {
        Ok(result) => result,
        Err(_) => Err(Failure {
            ordered: true,
            ..Failure::unreachable(format!(
                "the certificate authority did not finish the order within {} seconds",
                within.as_secs()
            ))
        }),
    }
}

async fn run(
    account: &Account,
    wanted: Wanted<'_>,
    challenges: &Arc<Challenges>,
) -> Result<String, Failure> {
    let order = open(account, &wanted).await?;
    let finished = finish(order, &wanted, challenges).await;
    finished.map_err(|failure| Failure {
        ordered: true,
        ..failure
    })
}

async fn finish(
    mut order: Order,
    wanted: &Wanted<'_>,
    challenges: &Arc<Challenges>,
) -> Result<String, Failure> {
    // Dropped at the end of this function, whichever way it ends.
    let mut offers = Vec::new();
    prove(&mut order, wanted.way, challenges, &mut offers).await?;
    settle(&mut order, &[OrderStatus::Pending]).await?;
    if order.state().status == OrderStatus::Invalid {
        return Err(refusal(&mut order).await);
    }
    let (key, request) = request_for(wanted.hosts)
        .map_err(|error| Failure::own(format!("cannot make a certificate request: {error}")))?;
    if order.state().status == OrderStatus::Ready {
        patiently!(order.finalize_csr(&request))?;
    }
    settle(&mut order, &[OrderStatus::Ready, OrderStatus::Processing]).await?;
    match patiently!(order.certificate())? {
        Some(chain) => Ok(format!("{}{chain}", key.serialize_pem())),
        None => Err(Failure::unreachable(
            "the certificate authority gave no certificate",
        )),
    }
}

async fn open(account: &Account, wanted: &Wanted<'_>) -> Result<Order, Failure> {
    let names: Vec<Identifier> = wanted.hosts.iter().cloned().map(Identifier::Dns).collect();
    let profile = wanted
        .profile
        .filter(|_| names.len() <= PROFILE_NAMES)
        .filter(|name| account.profiles().any(|offered| offered.name == *name));
    let with = |replaces: Option<&CertificateIdentifier<'_>>| {
        let mut new = NewOrder::new(&names);
        if let Some(id) = replaces {
            new = new.replaces(id.clone().into_owned());
        }
        match profile {
            Some(profile) => new.profile(profile),
            None => new,
        }
    };
    let first = with(wanted.replaces.as_ref());
    match patiently!(account.new_order(&first)) {
        Ok(order) => Ok(order),
        // The field is a courtesy: when it is what the authority stumbles over (it was used
        // before, or belongs to another account), the certificate is still needed.
        Err(error) if wanted.replaces.is_some() && about_replacing(&error) => {
            let plain = with(None);
            Ok(patiently!(account.new_order(&plain))?)
        }
        Err(error) => Err(error.into()),
    }
}

/// How many names Let's Encrypt takes in an order of its newer profiles; without one it is 100.
const PROFILE_NAMES: usize = 25;

fn about_replacing(error: &Error) -> bool {
    match error {
        Error::Unsupported(_) | Error::Other(_) => true,
        Error::Api(problem) => matches!(
            short_type(problem),
            "alreadyReplaced" | "malformed" | "unauthorized" | "conflict"
        ),
        _ => false,
    }
}

/// Puts an answer in place for each name that is still to be shown, and says so.
async fn prove(
    order: &mut Order,
    way: Way,
    challenges: &Arc<Challenges>,
    offers: &mut Vec<Offer>,
) -> Result<(), Failure> {
    let mut done = HashSet::new();
    let mut tries = 0;
    'again: loop {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = match authorization {
                Ok(authorization) => authorization,
                // What was fetched stays, so a new round asks for the rest alone.
                Err(error) if refused(&error) && tries < TRIES => {
                    tries += 1;
                    continue 'again;
                }
                Err(error) => return Err(error.into()),
            };
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            if done.insert(authorization.url().to_owned()) {
                answer(&mut authorization, way, challenges, offers).await?;
            }
        }
        return Ok(());
    }
}

async fn answer<'a>(
    authorization: &'a mut AuthorizationHandle<'a>,
    way: Way,
    challenges: &Arc<Challenges>,
    offers: &mut Vec<Offer>,
) -> Result<(), Failure> {
    let host = authorization.identifier().to_string();
    let offered = |way: Way| {
        authorization
            .challenges
            .iter()
            .any(|challenge| challenge.r#type == way.kind())
    };
    let way = if offered(way) { way } else { way.other() };
    let Some(mut challenge) = authorization.challenge(way.kind()) else {
        return Err(Failure::refused(format!(
            "the certificate authority offers neither HTTP-01 nor TLS-ALPN-01 for `{host}`"
        )));
    };
    let content = challenge.key_authorization();
    offers.push(match way {
        Way::Http01 => challenges.offer_http(&host, &challenge.token, content.as_str()),
        Way::TlsAlpn01 => challenges.offer_tls(&host, &content).map_err(|error| {
            Failure::own(format!("cannot make a challenge certificate: {error}"))
        })?,
    });
    patiently!(challenge.set_ready()).map_err(|error| {
        let failure = Failure::from(error);
        Failure {
            words: format!("`{host}`: {}", failure.words),
            hosts: vec![host],
            ..failure
        }
    })
}

/// Asks until the order has left `states`. The authority's pace is a second or two; asking twice
/// as rarely each time, up to ten seconds, keeps a slow one from being asked too often.
async fn settle(order: &mut Order, states: &[OrderStatus]) -> Result<(), Failure> {
    let mut pause = Duration::from_millis(250);
    let mut unanswered = 0;
    while states.contains(&order.state().status) {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(10));
        match patiently!(async { order.refresh().await.map(drop) }) {
            Ok(()) => unanswered = 0,
            Err(error) => {
                let failure = Failure::from(error);
                unanswered += 1;
                // The order lives on at the authority: one lost answer is no reason to lose it.
                if failure.kind != FailureKind::Unreachable || unanswered == TRIES {
                    return Err(failure);
                }
            }
        }
    }
    Ok(())
}

/// Why the order is invalid: what the authority says about each name.
async fn refusal(order: &mut Order) -> Failure {
    let mut words = Vec::new();
    let mut hosts = Vec::new();
    let of_order = order.state().error.as_ref().map(in_words);
    for _ in 0..TRIES {
        words.clear();
        hosts.clear();
        let mut whole = true;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let Ok(authorization) = authorization else {
                whole = false;
                continue;
            };
            let host = authorization.identifier().to_string();
            for problem in authorization
                .challenges
                .iter()
                .filter_map(|c| c.error.as_ref())
            {
                words.push(format!("`{host}`: {}", in_words(problem)));
                hosts.push(host.clone());
            }
        }
        if whole {
            break;
        }
    }
    words.extend(of_order.filter(|_| words.is_empty()));
    if words.is_empty() {
        words.push("the certificate authority refuses without giving a reason".to_owned());
    }
    Failure {
        hosts,
        ..Failure::refused(words.join("; "))
    }
}

/// A new P-256 key and the request for `hosts` in DER.
fn request_for(hosts: &[String]) -> Result<(KeyPair, Vec<u8>), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key)?;
    Ok((key, request.der().to_vec()))
}
