//! Lifetimes, limits and rates as settings: each field is a flag, a variable and a key of the file.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::Args;
use shared::oauth::form::MAX_PARAMETERS;
use shared::oauth::json::DEEPEST;
use shared::time::Seconds;

use super::value::{DAY, count, size, time};
use crate::http::app::Times;
use crate::http::limit::Rates;
use crate::protocol::bounds::Bounds;
use crate::protocol::policy::{ACCESS_LIFETIME, Lifetimes};

/// How long things live.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Lifetimes")]
pub struct LifetimeArgs {
    /// How long an authorization code can be exchanged. RFC 6749 wants ten minutes at most.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time(1..=600))]
    pub code_lifetime: Seconds,
    /// How long an access token is valid, an hour at most. A revocation need not wait for its end where the store is asked.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = time(1..=ACCESS_LIFETIME.0))]
    pub access_lifetime: Seconds,
    /// How long a refresh token may lie unused.
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = time(1..=3650 * DAY))]
    pub refresh_idle: Seconds,
    /// How long a person's consent yields new tokens, however often it is used.
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = time(1..=3650 * DAY))]
    pub refresh_lifetime: Seconds,
    /// How long an exchanged refresh token may come again, because its answer was lost.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time(0..=10))]
    pub refresh_grace: Seconds,
    /// How long a browser stays signed in.
    #[arg(long, value_name = "TIME", default_value = "12h", value_parser = time(60..=365 * DAY))]
    pub session_lifetime: Seconds,
    /// How long a login or consent page can be answered.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time(10..=DAY))]
    pub page_lifetime: Seconds,
    /// How long the link for the first account works.
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = time(60..=30 * DAY))]
    pub setup_lifetime: Seconds,
    /// How old a signing key gets before a new one is made. That is published for an hour before it signs.
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = time(7200..=3650 * DAY))]
    pub key_lifetime: Seconds,
}

impl From<&LifetimeArgs> for Lifetimes {
    fn from(args: &LifetimeArgs) -> Self {
        Self {
            code: args.code_lifetime,
            access: args.access_lifetime,
            refresh_idle: args.refresh_idle,
            refresh_absolute: args.refresh_lifetime,
            refresh_grace: args.refresh_grace,
            session: args.session_lifetime,
            page: args.page_lifetime,
            setup: args.setup_lifetime,
            key: args.key_lifetime,
        }
    }
}

const KIB: usize = 1024;

/// How large things from outside may be, and how long they may take.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub struct BoundArgs {
    /// The largest form.
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = size(KIB..=1024 * KIB))]
    pub max_form: usize,
    /// The largest registration.
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = size(KIB..=1024 * KIB))]
    pub max_registration: usize,
    /// The longest first line of a request: method, path and query, version.
    #[arg(long, value_name = "SIZE", default_value = "16KiB", value_parser = size(KIB..=64 * KIB))]
    pub max_request_line: usize,
    /// The largest headers of a request, together.
    #[arg(long, value_name = "SIZE", default_value = "32KiB", value_parser = size(KIB..=96 * KIB))]
    pub max_headers: usize,
    /// The most parameters of a form, of a query, or of a JSON body in place of a form.
    #[arg(long, value_name = "N", default_value = "200", value_parser = count(10..=MAX_PARAMETERS))]
    pub max_parameters: usize,
    /// The most JSON objects and arrays within each other.
    #[arg(long, value_name = "N", default_value = "64", value_parser = count(4..=DEEPEST))]
    pub max_json_depth: usize,
    /// The longest text in a registration.
    #[arg(long, value_name = "SIZE", default_value = "1KiB", value_parser = size(64..=16 * KIB))]
    pub max_text: usize,
    /// The longest name of a client, in characters.
    #[arg(long, value_name = "N", default_value = "128", value_parser = count(1..=1024))]
    pub max_client_name: usize,
    /// The most redirect URIs of one client.
    #[arg(long, value_name = "N", default_value = "10", value_parser = count(1..=100))]
    pub max_redirect_uris: usize,
    /// The longest token, code or other parameter that a program sends.
    #[arg(long, value_name = "SIZE", default_value = "8KiB", value_parser = size(KIB..=64 * KIB))]
    pub max_token: usize,
    /// The longest state of an authorization request.
    #[arg(long, value_name = "SIZE", default_value = "4KiB", value_parser = size(64..=8 * KIB))]
    pub max_state: usize,
    /// The largest metadata document of a client.
    #[arg(long, value_name = "SIZE", default_value = "5KiB", value_parser = size(KIB..=64 * KIB))]
    pub max_document: usize,
    /// How long fetching a client's metadata document or keys may take.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time(1..=60))]
    pub document_time: Seconds,
    /// How long the headers of a request may take.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time(1..=120))]
    pub header_time: Seconds,
    /// How long the body of a request may take.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time(1..=600))]
    pub body_time: Seconds,
    /// How long a connection may wait for its next request.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time(1..=600))]
    pub idle_time: Seconds,
}

impl From<&BoundArgs> for Bounds {
    fn from(args: &BoundArgs) -> Self {
        Self {
            form_body: args.max_form,
            registration_body: args.max_registration,
            request_line: args.max_request_line,
            headers: args.max_headers,
            parameters: args.max_parameters,
            json_depth: args.max_json_depth,
            text: args.max_text,
            client_name: args.max_client_name,
            redirect_uris: args.max_redirect_uris,
            token: args.max_token,
            state: args.max_state,
            document: args.max_document,
            document_time: args.document_time,
        }
    }
}

impl From<&BoundArgs> for Times {
    fn from(args: &BoundArgs) -> Self {
        let [headers, body, idle] = [args.header_time, args.body_time, args.idle_time].map(Duration::from);
        Self { headers, body, idle }
    }
}

/// How often one address may do what.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Rates, per minute and address")]
pub struct RateArgs {
    /// Registrations.
    #[arg(long, value_name = "N", default_value = "120")]
    pub rate_registrations: NonZeroU32,
    /// Failed logins to one account.
    #[arg(long, value_name = "N", default_value = "10")]
    pub rate_failed_logins: NonZeroU32,
    /// Failed logins to whatever accounts.
    #[arg(long, value_name = "N", default_value = "60")]
    pub rate_failed_logins_in_all: NonZeroU32,
    /// Failed authentications of one client.
    #[arg(long, value_name = "N", default_value = "60")]
    pub rate_failed_clients: NonZeroU32,
    /// Codes, refresh tokens and device codes that are none or no longer good, of whatever clients.
    #[arg(long, value_name = "N", default_value = "240")]
    pub rate_failed_grants: NonZeroU32,
    /// Codes for devices.
    #[arg(long, value_name = "N", default_value = "60")]
    pub rate_devices: NonZeroU32,
    /// Pushed authorization requests.
    #[arg(long, value_name = "N", default_value = "240")]
    pub rate_pushed: NonZeroU32,
    /// Wrong device codes typed by one person.
    #[arg(long, value_name = "N", default_value = "5")]
    pub rate_wrong_codes: NonZeroU32,
    /// Wrong device codes typed by whatever people.
    #[arg(long, value_name = "N", default_value = "30")]
    pub rate_wrong_codes_in_all: NonZeroU32,
}

impl From<&RateArgs> for Rates {
    fn from(args: &RateArgs) -> Self {
        Self {
            registrations: args.rate_registrations,
            failed_logins: args.rate_failed_logins,
            failed_logins_in_all: args.rate_failed_logins_in_all,
            failed_clients: args.rate_failed_clients,
            failed_grants: args.rate_failed_grants,
            devices: args.rate_devices,
            pushed: args.rate_pushed,
            wrong_codes: args.rate_wrong_codes,
            wrong_codes_in_all: args.rate_wrong_codes_in_all,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn parsed(args: &[&str]) -> Result<crate::cli::ServeArgs, clap::Error> {
        Cli::try_parse_from([&["authz-service"], args].concat()).map(|cli| cli.serve)
    }

    #[test]
    fn what_nobody_sets_is_what_the_code_says() {
        let args = parsed(&[]).unwrap();
        assert_eq!(Lifetimes::from(&args.lifetimes), Lifetimes::default());
        assert_eq!(Bounds::from(&args.bounds), Bounds::default());
        assert_eq!(Times::from(&args.bounds), Times::default());
        assert_eq!(Rates::from(&args.rates), Rates::default());
    }

    const RATE: u64 = u32::MAX as u64;

    /// Every setting that is a number, a time or a size, with the least and the most that it takes.
    const BOUNDS: [(&str, u64, u64); 38] = [
        ("port", 0, 65_535),
        ("max-clients", 1, 100_000_000),
        ("client-days", 1, 3650),
        ("workers", 1, 256),
        ("code-lifetime", 1, 600),
        ("access-lifetime", 1, 3600),
        ("refresh-idle", 1, 315_360_000),
        ("refresh-lifetime", 1, 315_360_000),
        ("refresh-grace", 0, 10),
        ("session-lifetime", 60, 31_536_000),
        ("page-lifetime", 10, 86_400),
        ("setup-lifetime", 60, 2_592_000),
        ("key-lifetime", 7200, 315_360_000),
        ("max-form", 1024, 1_048_576),
        ("max-registration", 1024, 1_048_576),
        ("max-request-line", 1024, 65_536),
        ("max-headers", 1024, 98_304),
        ("max-parameters", 10, 1000),
        ("max-json-depth", 4, 100),
        ("max-text", 64, 16_384),
        ("max-client-name", 1, 1024),
        ("max-redirect-uris", 1, 100),
        ("max-token", 1024, 65_536),
        ("max-state", 64, 8192),
        ("max-document", 1024, 65_536),
        ("document-time", 1, 60),
        ("header-time", 1, 120),
        ("body-time", 1, 600),
        ("idle-time", 1, 600),
        ("rate-registrations", 1, RATE),
        ("rate-failed-logins", 1, RATE),
        ("rate-failed-logins-in-all", 1, RATE),
        ("rate-failed-clients", 1, RATE),
        ("rate-failed-grants", 1, RATE),
        ("rate-devices", 1, RATE),
        ("rate-pushed", 1, RATE),
        ("rate-wrong-codes", 1, RATE),
        ("rate-wrong-codes-in-all", 1, RATE),
    ];

    #[test]
    fn cfg_06_every_setting_is_taken_at_its_limit_and_refused_one_above() {
        for (flag, least, most) in BOUNDS {
            let takes = |value: &str| parsed(&[&format!("--{flag}={value}")]);
            assert!(takes(&least.to_string()).is_ok() && takes(&most.to_string()).is_ok(), "{flag}");
            let beyond = [i128::from(least) - 1, i128::from(most) + 1].map(|number| number.to_string());
            for bad in ["-1", "x", "", "1.5", &beyond[0], &beyond[1]] {
                let error = takes(bad).unwrap_err().to_string();
                assert!(error.contains(flag), "{flag} {bad}: {error}");
            }
        }
    }

    #[test]
    fn cfg_06_the_table_above_holds_every_setting_that_counts_something() {
        let table = crate::settings::table();
        let counts = |arg: &&clap::Arg| {
            let names = arg.get_value_names().unwrap_or_default();
            names.iter().any(|name| ["TIME", "SIZE", "N", "DAYS", "PORT"].contains(&name.as_str()))
        };
        let settings: Vec<_> = table.get_arguments().filter(counts).filter_map(clap::Arg::get_long).collect();
        assert_eq!(settings, BOUNDS.map(|(flag, _, _)| flag));
    }
}
