//! What an atSign costs the directory in memory.

mod running;

use std::fmt::Write as _;

use running::Directory;

#[test]
fn a_hundred_thousand_at_signs_take_less_than_400_bytes_each() {
    const MANY: u32 = 100_000;
    let few = Directory::of("alice alice.default.svc.cluster.local:6464\n", &[]).resident();
    let mut addresses = String::new();
    for number in 0..MANY {
        writeln!(addresses, "customer{number} customer{number}.customers-17.svc.cluster.local:6464")
            .expect("a string");
    }
    let directory = Directory::of(&addresses, &[]);
    assert_eq!(directory.look_up("customer99999"), "customer99999.customers-17.svc.cluster.local:6464");
    // The file's text is kept to notice changes; it is not what an atSign of a cluster costs.
    let each = (directory.resident() - few - addresses.len() as u64) / u64::from(MANY);
    println!("{each} bytes of memory for each of {MANY} atSigns");
    assert!(each < 400, "{each} bytes each");
}
