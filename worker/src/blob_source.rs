//! Where blobs come from and go to: the server's CAS at the other end of a connection, or in this process.

use crate::error::ExecutionError;
use pumphouse_proto::cas::{Cas, LocalCas};
use pumphouse_proto::cas_client::CasClient;
use pumphouse_proto::connection::Connection;
use std::sync::Arc;
use tonic::{Code, Status};

/// The storage of a worker's server.
#[derive(Debug, Clone)]
pub enum Storage {
    /// Another process's.
    Remote(Connection),
    /// This process's, which serves all instances from the same blobs.
    InProcess(Arc<dyn LocalCas>),
}

/// The CAS of one instance. Cheap to clone.
#[derive(Debug, Clone)]
pub enum BlobSource {
    /// Another process's.
    Remote(Arc<CasClient>),
    /// This process's.
    InProcess(Arc<dyn LocalCas>),
}

impl Storage {
    /// The CAS of an instance.
    pub fn of_instance(&self, instance_name: &str) -> BlobSource {
        match self {
            Self::Remote(connection) => {
                BlobSource::Remote(Arc::new(CasClient::new(connection.clone(), instance_name, 0)))
            }
            Self::InProcess(cas) => BlobSource::InProcess(Arc::clone(cas)),
        }
    }
}

impl BlobSource {
    /// The CAS, wherever it is.
    pub fn cas(&self) -> &dyn Cas {
        match self {
            Self::Remote(client) => &**client,
            Self::InProcess(cas) => &**cas,
        }
    }

    /// How many of its files, to which there may be links, were found to be corrupt; none is known of another process's.
    pub fn corrupt_files(&self) -> u64 {
        match self {
            Self::Remote(_) => 0,
            Self::InProcess(cas) => cas.corrupt_files(),
        }
    }

    /// Why an action has no result whose outputs were refused. Another process's CAS says that it is exhausted when it is
    /// merely busy as well; this one's has no room.
    pub fn refusal(&self, status: Status) -> ExecutionError {
        match self {
            Self::InProcess(_) if status.code() == Code::ResourceExhausted => {
                ExecutionError::Full(status.message().to_owned())
            }
            _ => ExecutionError::Call(status),
        }
    }
}
