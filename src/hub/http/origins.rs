//! Letting browsers in: a web app made with WatermelonDB calls the hub from another
//! origin, and its browser asks first whether it may.
//!
//! Only origins that the settings name, and only for the calls of such apps. A token is
//! needed all the same: it travels in a header that the app sets, never in a cookie.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::hub::settings::Settings;

/// The origin that asks, where the settings let it in.
pub(super) fn allowed(settings: &Settings, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let name = origin.to_str().ok()?;
    settings.allow_origins.iter().any(|known| known == name || known == "*").then(|| origin.clone())
}

/// The answer to a browser that asks before it calls.
pub(super) fn preflight(origin: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, content-encoding"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    opened(response, Some(origin))
}

/// An answer that the browser hands to the app, also where it is a refusal.
pub(super) fn opened(mut response: Response<Body>, origin: Option<HeaderValue>) -> Response<Body> {
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
    }
    response
}
