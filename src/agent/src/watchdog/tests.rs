//! What can be said without a watchdog: refusals. Arming, petting and resets are shown in virtual machines.

use super::*;

#[test]
fn the_request_numbers_are_those_of_linux_watchdog_h() {
    assert_eq!(
        [
            GET_SUPPORT,
            KEEP_ALIVE,
            SET_TIMEOUT,
            GET_TIMEOUT,
            SET_PRETIMEOUT
        ],
        [
            0x8028_5700,
            0x8004_5705,
            0xc004_5706,
            0x8004_5707,
            0xc004_5708
        ]
    );
}

#[test]
fn files_that_are_no_watchdogs_are_refused_with_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    for path in [plain.as_path(), Path::new("/dev/null")] {
        let mut watchdog = Watchdog::at(path);
        let error = watchdog.arm(Duration::from_secs(1)).unwrap_err();
        assert!(
            matches!(error, WatchdogError::NoWatchdog { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(&path.display().to_string()));
        assert!(watchdog.armed.is_none(), "it stays open");
    }
    let mut absent = Watchdog::at(&folder.path().join("absent"));
    let error = absent.arm(Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, WatchdogError::Open { .. }), "{error:?}");
}

#[test]
fn what_is_not_armed_cannot_be_petted_and_need_not_be_disarmed() {
    let mut watchdog = Watchdog::at(Path::new("/dev/null"));
    assert!(watchdog.pet().is_err());
    assert!(watchdog.disarm().is_ok());
}
