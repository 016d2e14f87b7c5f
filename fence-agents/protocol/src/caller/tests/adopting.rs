//! Orders that another leader may have begun, and such as end while the device is asked.

use super::{Bench, soon};
use crate::caller::{DeviceLock, OffOrder, OffVerdict, adopt_off, confirm_off, untold};

#[tokio::test]
async fn an_adopted_order_asks_first_and_acts_only_on_a_running_machine() {
    let off = Bench::new("honest");
    assert!(matches!(
        off.adopt_off().await,
        OffVerdict::Confirmed { .. }
    ));
    assert!(!off.log().contains(&"off".to_owned()), "{:?}", off.log());
    let on = Bench::new("onfirst");
    assert!(matches!(on.adopt_off().await, OffVerdict::Confirmed { .. }));
    assert_eq!(on.log(), ["status", "off", "status", "status"]);
    let blind = Bench::new("none");
    assert!(matches!(
        blind.adopt_off().await,
        OffVerdict::Unknown { .. }
    ));
    assert_eq!(blind.log(), ["status"]);
}

#[tokio::test]
async fn an_order_that_ended_while_the_device_was_asked_switches_nothing_off() {
    let on = Bench::new("onfirst");
    let over = OffOrder {
        stands: &|| Box::pin(std::future::ready(Err("the order is over".to_owned()))),
        first_off_read: &untold,
        ..on.order()
    };
    let mut turn = DeviceLock::new().turn(soon()).await.unwrap();
    let reason = "the order is over".to_owned();
    assert_eq!(
        adopt_off(&mut turn, &over).await,
        OffVerdict::Unknown {
            reason: reason.clone()
        }
    );
    assert_eq!(on.log(), ["status"]);
    assert_eq!(
        confirm_off(&mut turn, &over).await,
        OffVerdict::Unknown { reason }
    );
    assert_eq!(on.log(), ["status"]);
}
