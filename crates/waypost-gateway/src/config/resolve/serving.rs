//! How the gateway serves, and whom.

use std::net::SocketAddr;

use secrecy::ExposeSecret;
use waypost::core::{OrganizationId, Ratio, TenantId, UserId};

use super::{Collector, Resolver, ServerSettings};
use crate::config::file::Server;
use crate::keys::{Caller, KeyHash, KeyRing};

impl Resolver<'_> {
    pub(super) fn server(&mut self, keys: &KeyRing) -> Option<ServerSettings> {
        let Server { listen, admin, admin_key, anonymous, .. } = &self.file.server;
        let address = |this: &mut Self, key: &str, text: &str| {
            let parsed = text.parse::<SocketAddr>();
            this.take(
                &["server", key],
                parsed.map_err(|_| format!("`{text}` is not an address such as 127.0.0.1:8080")),
            )
        };
        let listen = address(self, "listen", listen)?;
        let admin = if admin.is_empty() { None } else { Some(address(self, "admin", admin)?) };
        let admin_key = admin_key.as_ref().and_then(|source| self.secret(&["server", "admin_key"], source));
        let is_open = admin.is_some_and(|admin| !admin.ip().is_loopback());
        if is_open && self.file.server.admin_key.is_none() {
            self.problem(&["server", "admin"], "administrators need an `admin_key` beyond this machine");
        }
        let anonymous = anonymous.unwrap_or_else(|| keys.is_empty());
        if anonymous && !listen.ip().is_loopback() {
            self.problem(
                &["server", "listen"],
                "without keys only this machine is served: name a loopback address, or tenants with keys",
            );
        }
        let server = &self.file.server;
        Some(ServerSettings {
            listen,
            admin,
            admin_key,
            anonymous,
            max_body: server.max_body.0,
            max_connections: server.max_connections.max(1),
            max_requests: server.max_requests.max(1),
            max_buffered: server.max_buffered.0,
            header_timeout: server.header_timeout.0,
            body_timeout: server.body_timeout.0,
            write_timeout: server.write_timeout.0,
            lame_duck: server.lame_duck.0,
            drain: server.drain.0,
        })
    }

    pub(super) fn collector(&mut self) -> Option<Collector> {
        let otlp = self.file.telemetry.otlp.as_ref()?;
        let path = ["telemetry", "otlp"];
        if cfg!(not(feature = "otlp")) {
            self.problem(&path, "this build cannot tell collectors: it has no feature `otlp`");
        }
        let (_, origin, base_path) =
            self.base_url(&["telemetry", "otlp", "endpoint"], &otlp.endpoint, Some(true))?;
        let sample = self.take(&["telemetry", "otlp", "sample"], Ratio::new(otlp.sample.unwrap_or(1.0)))?;
        let service = otlp.service.clone().unwrap_or_else(|| "waypost".to_owned());
        Some(Collector { origin, base_path, service, sample: sample.get() })
    }

    pub(super) fn keys(&mut self) -> KeyRing {
        let secret = self.file.server.key_secret.as_ref();
        let secret = secret.and_then(|source| self.secret(&["server", "key_secret"], source));
        let mut ring = KeyRing::new(secret.as_ref().map_or("", |secret| secret.expose_secret()).as_bytes());
        for (name, tenant) in &self.file.tenants {
            for (place, key) in tenant.keys.iter().enumerate() {
                let place = place.to_string();
                let path = ["tenants", name, "keys", &place, "hash"];
                let Some(hash) = KeyHash::parse(&key.hash) else {
                    self.problem(
                        &path,
                        "not the hash of a key: `waypost keys new` makes a key and prints its hash",
                    );
                    continue;
                };
                let user = key.user.as_ref().and_then(|user| self.take(&path, UserId::new(user)));
                let organization = key.organization.as_ref();
                let organization = organization.and_then(|name| self.take(&path, OrganizationId::new(name)));
                let tenant = TenantId::new(name).ok();
                let allow = key.allow.as_ref();
                let allow =
                    allow.map(|allow| self.allowed(&["tenants", name, "keys", &place, "allow"], allow));
                let caller = Caller {
                    key: Some(hash.short()),
                    tenant,
                    user,
                    organization,
                    allow: allow.map(Into::into),
                    max_cost: key.budget.per_request.map(|money| money.0),
                };
                if !ring.add(&hash, caller) {
                    self.problem(&path, "the same key stands twice");
                }
            }
        }
        ring
    }
}
