//! The calls of remote workers.

use steadfast_wire::lease::{
    HeartbeatAnswer, HeartbeatRequest, HeartbeatsAnswer, HeartbeatsRequest, LeaseAnswer, LeaseId,
    LeaseRequest, Settle, SettledDocument, SettlementsAnswer, SettlementsRequest,
};

use crate::{Client, Error};

impl Client {
    /// Takes jobs, or waits for some for as long as the request says. Dropping it while it waits takes none.
    pub async fn lease(&self, request: &LeaseRequest) -> Result<LeaseAnswer, Error> {
        self.call(self.post("v1/leases", request)?).await
    }

    /// Renews one lease for as long as it was taken for, counted from before the call.
    pub async fn heartbeat(
        &self,
        lease: LeaseId,
        heartbeat: &HeartbeatRequest,
    ) -> Result<HeartbeatAnswer, Error> {
        self.call(self.post(&format!("v1/leases/{lease}/heartbeat"), heartbeat)?).await
    }

    /// Renews 1 to 1,000 leases, each for itself.
    pub async fn heartbeats(&self, heartbeats: &HeartbeatsRequest) -> Result<HeartbeatsAnswer, Error> {
        self.call(self.post("v1/leases/heartbeat", heartbeats)?).await
    }

    /// Says how an attempt ended. Safe to repeat: the same word under the same lease gets the first answer.
    pub async fn settle(&self, lease: LeaseId, settle: &Settle) -> Result<SettledDocument, Error> {
        let request = match settle {
            Settle::Complete(body) => self.post(&format!("v1/leases/{lease}/complete"), body),
            Settle::Fail(body) => self.post(&format!("v1/leases/{lease}/fail"), body),
            Settle::Release(body) => self.post(&format!("v1/leases/{lease}/release"), body),
        };
        self.call(request?).await
    }

    /// Says how 1 to 1,000 attempts ended, each for itself, in one commit where the store can. Safe to repeat.
    pub async fn settle_all(&self, settlements: &SettlementsRequest) -> Result<SettlementsAnswer, Error> {
        self.call(self.post("v1/leases/settle", settlements)?).await
    }
}
