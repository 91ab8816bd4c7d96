//! The pages for a device: its code, and what it asks for.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use minijinja::context;
use shared::oauth::register::GrantType;
use shared::state::ClientOrigin;
use shared::uri::Parts;

use super::consent::offered;
use super::{Hidden, Pages, how_long, plain, shown_name};
use crate::protocol::Policy;
use crate::protocol::device::Asked;

impl Pages {
    /// The page on which a person types a device's code, or the same again with what was wrong.
    pub fn device(
        &self,
        code: &str,
        user: &str,
        hidden: &Hidden,
        logout: &Hidden,
        error: Option<&str>,
    ) -> HttpResponse {
        let values = context! {
            title => "Connect a device",
            user_code => code,
            user,
            error,
            transaction => &hidden.transaction,
            csrf => &hidden.csrf,
            logout_transaction => &logout.transaction,
            logout_csrf => &logout.csrf,
        };
        let status = if error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        self.render(status, "device.html", values, "")
    }

    /// The consent page for a device. It says what an attacker would hide: that somebody else may have started it (RFC
    /// 8628 section 5.4).
    pub fn device_consent(
        &self,
        asked: &Asked<'_>,
        policy: &Policy,
        code: &str,
        hidden: &Hidden,
        logout: &Hidden,
    ) -> HttpResponse {
        let values = context! {
            title => "Allow a device?",
            client => shown_name(asked.client.name.as_deref()),
            self_declared => asked.client.origin == ClientOrigin::Dynamic,
            program => asked.client.program.as_deref().map(|program| plain(&program.place())),
            home => asked.client.client_uri.as_deref().and_then(|uri| Parts::of(uri)?.host()),
            user_code => code,
            resource => asked.device.resource.as_str(),
            scopes => offered(asked.offer(), &policy.catalogue),
            changed => asked.offer().changed().count(),
            kept => how_long(policy.lifetimes.refresh_absolute),
            access_time => how_long(policy.lifetimes.access),
            lasting => asked.client.program.is_some() || asked.client.grant_types.contains(&GrantType::RefreshToken),
            user => asked.user().as_str(),
            transaction => &hidden.transaction,
            csrf => &hidden.csrf,
            logout_transaction => &logout.transaction,
            logout_csrf => &logout.csrf,
        };
        self.render(StatusCode::OK, "device_consent.html", values, "")
    }
}
