//! Hello: a replica says who it is and which tables it has; the hub takes what it may
//! and says what it has.

use super::scope::Scope;
use super::writing::Writing;
use super::{bring, device, outside};
use crate::hub::error::{HubError, Result};
use crate::hub::store::Who;
use crate::model::Revision;
use crate::protocol::{Hello, VERSION, Welcome};

pub(super) fn hello(scope: &mut Scope, who: &Who, request: &Hello, now: i64) -> Result<Welcome> {
    if request.protocol != VERSION {
        return Err(HubError::Version(request.protocol));
    }
    device::check_names(&request.incarnation, &request.device)?;
    if request.tables.len() > scope.settings.tables_max {
        return Err(HubError::TooLarge(format!(
            "{} tables; {} may come",
            request.tables.len(),
            scope.settings.tables_max
        )));
    }
    scope.settle_if_needed(now)?;
    let writing = Writing::begin(&scope.db, now)?;
    let (schema, _) = outside::take_in(&writing, &scope.schema, &scope.settings)?;
    let may_bring = who.may_write && who.may_bring_tables && scope.settings.bring_tables;
    let refused = bring::bring(writing.db(), &schema, &request.tables, may_bring, scope.settings.tables_max)?;
    let (schema, _) = outside::take_in(&writing, &schema, &scope.settings)?;
    let device = device::arrive(writing.db(), who, &request.incarnation, &request.device, now)?;
    device::note_seen(writing.db(), &mut scope.seen)?;
    scope.head = Revision(writing.commit()?);
    scope.schema = schema;
    Ok(Welcome {
        protocol: VERSION,
        epoch: scope.epoch.clone(),
        head: scope.head,
        time: now,
        role: who.role.clone(),
        batch: device.batch,
        tables: scope.schema.shapes.iter().map(|shape| shape.table.clone()).collect(),
        refused,
        limits: scope.settings.limits(),
    })
}
