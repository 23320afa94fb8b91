//! What the end-to-end suites and the benches share: the released program as processes, projects to build with it, and
//! the comparison of what comes out with what a plain compiler gives.
//!
//! Nothing here but the scanner's oracle and the table of variables links against the product: the suites see `pumphouse` as
//! users do.
//!
//! * [`bazel`]: Bazel in a workspace of its own.
//! * [`processes`]: what runs on the machine at this moment.
//! * [`program`]: where the program under test is.
//! * [`process`]: commands with a deadline, and services that say when they are ready.
//! * [`client`]: a developer's side: launcher, daemon, statistics.
//! * [`pumphouse`]: a whole site: server, worker and a client.
//! * [`mount`]: disks of other kinds: almost full, with coarse time stamps, behind another program.
//! * [`nfs`]: a machine with an NFS server and its clients.
//! * [`proxy`]: what hung and hostile servers do.
//! * [`random`]: seeded choices, for fuzzers.
//! * [`remote`]: a bare client of the Remote Execution API.
//! * [`container`]: the image and the manifests, run by an OCI runtime.
//! * [`environments`]: variables drawn from the product's table.
//! * [`distcc`]: a farm of distcc's, for the include server.
//! * [`objects`]: what a build leaves, byte for byte.
//! * [`workspace`]: a source directory, and whether `pumphouse` leaves in it what the compiler leaves.
//! * [`project`]: real C and C++ and how it is built.
//! * [`variables`]: which environment variables programs ask for.
//! * [`scan_oracle`]: the compilers' own answers to what the scanner answers.

pub mod bazel;
pub mod client;
pub mod container;
pub mod distcc;
pub mod environments;
pub mod mount;
pub mod nfs;
pub mod objects;
pub mod process;
pub mod processes;
pub mod program;
pub mod project;
pub mod proxy;
pub mod pumphouse;
pub mod random;
pub mod remote;
pub mod scan_oracle;
pub mod variables;
pub mod workspace;
