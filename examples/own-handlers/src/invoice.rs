use serde::{Deserialize, Serialize};
use steadfast::domain::InvalidField;
use steadfast::queue::{Failure, JobContext, TypedHandler, Unfinished};

/// Adds an invoice up.
pub struct Invoice;

/// `{"lines": [{"cents": 250, "quantity": 2}]}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    lines: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    cents: u64,
    quantity: u32,
}

#[derive(Serialize)]
pub struct Total {
    cents: u64,
}

impl TypedHandler for Invoice {
    const KIND: &'static str = "invoice";
    type Payload = Payload;
    type Output = Total;

    /// What the types do not say. All faults at once: nobody likes to be told one by one.
    fn check(&self, payload: &Payload) -> Result<(), Vec<InvalidField>> {
        let lines = payload.lines.iter().enumerate();
        let faults: Vec<InvalidField> = lines
            .filter(|(_, line)| line.quantity == 0)
            .map(|(n, _)| InvalidField::new(format!("#/payload/lines/{n}/quantity"), "must be 1 or more"))
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    async fn run(&self, payload: Payload, _context: JobContext) -> Result<Total, Unfinished> {
        let mut total: u64 = 0;
        for line in payload.lines {
            let sum = line.cents.checked_mul(line.quantity.into()).and_then(|cents| total.checked_add(cents));
            // Another attempt would find the same: the job is dead at once.
            total = sum.ok_or_else(|| Failure::permanent("too_large", "the total is beyond all counting"))?;
        }
        Ok(Total { cents: total })
    }
}
