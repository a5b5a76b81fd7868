//! Build: puts Centrifuge's JavaScript client, which the chat page uses, into the daemon.
//!
//! In:  `admin/node_modules`, where `npm ci` has put it (tools/setup-chat does that); it may be missing.
//! Out: `centrifuge.js` in the build's own folder: the client with its license before it, or nothing.
//!
//! Nothing is fetched here.
#![forbid(unsafe_code)]

use std::{env, fs, path::Path};

fn main() {
    // The folder, not the file: Cargo would build anew every time as long as a file that it is to watch is not there.
    println!("cargo::rerun-if-changed=admin");
    println!("cargo::rerun-if-changed=build.rs");
    let package = Path::new("admin/node_modules/centrifuge");
    let script = fs::read_to_string(package.join("dist/centrifuge.js"));
    let license = fs::read_to_string(package.join("LICENSE"));
    let bundled = match (script, license) {
        (Ok(script), Ok(license)) => format!("/*!\n{license}*/\n{}", without_source_map(&script)),
        _ => String::new(),
    };
    let folder = env::var_os("OUT_DIR").expect("Cargo says where");
    fs::write(Path::new(&folder).join("centrifuge.js"), bundled).expect("Cargo's folder can be written");
}

/// Its last line names a file that the daemon does not serve.
fn without_source_map(script: &str) -> &str {
    script.rsplit_once("//# sourceMappingURL=").map_or(script, |(script, _)| script)
}
