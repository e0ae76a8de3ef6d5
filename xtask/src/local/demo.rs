//! The reference's demo environment (the image `virtualenv`): which atSigns it has, and where.

/// The name under which everything of it is reached; in public DNS it is the loopback address.
pub(super) const HOST: &str = "vip.ve.atsign.zone";

/// The directory's port.
pub(super) const PORT: u16 = 64;

/// The atSigns and their ports.
pub(super) const AT_SIGNS: [(&str, u16); 20] = [
    ("@alice🛠", 25000),
    ("@ashish🛠", 25001),
    ("@barbara🛠", 25002),
    ("@bob🛠", 25003),
    ("@colin🛠", 25004),
    ("@egbiometric🛠", 25005),
    ("@egcovidlab🛠", 25006),
    ("@egcreditbureau🛠", 25007),
    ("@eggovagency🛠", 25008),
    ("@emoji🦄🛠", 25009),
    ("@eve🛠", 25010),
    ("@jagan🛠", 25011),
    ("@kevin🛠", 25012),
    ("@murali🛠", 25013),
    ("@naresh🛠", 25014),
    ("@purnima🛠", 25015),
    ("@sameeraja🛠", 25016),
    ("@sitaram🛠", 25017),
    ("@srie", 25018),
    ("@sachin", 25019),
];
