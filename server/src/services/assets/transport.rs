//! Connections to origins that may be slow, but not for ever: each byte's arrival has a limit of its own, and all of them together
//! a rate. Else an origin that stands still would keep one of the few turns until the download's deadline.
//!
//! Stands between TCP and encryption, so that bytes count as they arrive.

use crate::services::rate::Rate;
use std::io;
use std::time::Duration;
use ureq::Agent;
use ureq::config::Config;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, RustlsConnector, TcpConnector,
    Transport, time,
};

/// How slow an origin may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// How long nothing may come.
    pub(super) idle: Duration,
    /// How long less may come than what [`Rate`] demands.
    pub(super) grace: Duration,
}

/// An agent whose origins are waited for with that patience.
pub(super) fn agent(config: Config, patience: Patience) -> Agent {
    let connector =
        ().chain(ConnectProxyConnector::default())
            .chain(TcpConnector::default())
            .chain(patience)
            .chain(RustlsConnector::default());
    Agent::with_parts(config, connector, DefaultResolver::default())
}

impl<In: Transport> Connector<In> for Patience {
    type Out = PatientTransport<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        let patience = *self;
        Ok(chained.map(|transport| PatientTransport { transport, patience, rate: Rate::begin_with(patience.grace) }))
    }
}

/// A connection whose peer is not waited for without end.
#[derive(Debug)]
pub(super) struct PatientTransport<T> {
    transport: T,
    patience: Patience,
    /// The rate at which the peer has answered what was last sent.
    rate: Rate,
}

fn late(message: String) -> ureq::Error {
    ureq::Error::Io(io::Error::new(io::ErrorKind::TimedOut, message))
}

impl<T: Transport> Transport for PatientTransport<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.rate = Rate::begin_with(self.patience.grace);
        self.transport.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let idle = time::Duration::Exact(self.patience.idle);
        let is_nearer = idle < timeout.after;
        let after = if is_nearer { idle } else { timeout.after };
        let before = self.transport.buffers().input().len();
        let has_come = match self.transport.await_input(NextTimeout { after, ..timeout }) {
            Err(ureq::Error::Timeout(_)) if is_nearer => {
                return Err(late(format!("nothing came for {:?}; it was given up", self.patience.idle)));
            }
            awaited => awaited?,
        };
        let come = self.transport.buffers().input().len().saturating_sub(before);
        self.rate.add(come as u64).map_err(late)?;
        Ok(has_come)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}
