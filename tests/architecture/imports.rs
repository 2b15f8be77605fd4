//! What may import what.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Module, NO_FINDINGS, Source, named_paths, sources, test_modules};

/// The layers of `src/`: each imports only from those before it. `lib.rs` and `bin/` stand above all.
const LAYERS: [&str; 10] =
    ["block", "error", "ids", "format", "storage", "engine", "page", "allocator", "pager", "subpage"];

/// What a folder's own `mod.rs` defines, as a place in the order of its parts.
const OWN: &str = "mod.rs";

/// Folders whose parts have an order. `mod.rs` itself may import every part of its folder; a part may import what `mod.rs`
/// defines only if it comes behind [`OWN`].
const PARTS: [(&str, &[&str]); 1] = [(
    "engine",
    &[
        "planted",
        "geometry",
        "sparse_tree",
        "runs",
        "map_leaf",
        "free_map",
        "zero_pages",
        "twin_table",
        "page_buffer",
        "state",
        "entries",
        "extent",
        "owned",
        "root",
        "options",
        "stage",
        "group",
        "recovery",
        "report",
        "reader",
        "leaves",
        "walk",
        "owners",
        "reserved",
        "new_file",
        "shown",
        "live",
        OWN,
        "holder",
        "open",
        "change",
        "extent_calls",
        "window",
        "writes",
        "commit",
        "placement",
        "waiting",
        "checkpoint",
        "compaction",
        "shrink",
        "punch",
        "snapshot",
        "changed",
        "increment",
        "table_pages",
        "advice",
        "check",
    ],
)];

/// The modules of the library without those that exist only for tests.
struct Library<'s> {
    files: BTreeMap<Module, &'s Source>,
    /// What the `use`s of a module bind, as paths from the root of the crate.
    bindings: BTreeMap<Module, BTreeMap<String, Module>>,
}

impl<'s> Library<'s> {
    fn new(sources: &'s [Source]) -> Self {
        let mut files: BTreeMap<Module, &Source> =
            sources.iter().filter_map(|source| Some((source.module()?, source))).collect();
        let for_tests: BTreeSet<Module> = sources.iter().flat_map(test_modules).collect();
        files.retain(|module, _| !(1..=module.len()).any(|len| for_tests.contains(&module[..len])));
        let mut library = Library { files, bindings: BTreeMap::new() };
        for (module, source) in &library.files {
            let named = named_paths(source.before_tests());
            let bound = named.iter().filter_map(|named| {
                let name = named.binds.clone()?;
                Some((name, library.path_from_root(module, &named.segments)?))
            });
            let bound = bound.collect();
            library.bindings.insert(module.clone(), bound);
        }
        library
    }

    /// A path as seen from the root of the crate; `None` if it leads out of the crate.
    fn path_from_root(&self, module: &Module, segments: &[String]) -> Option<Module> {
        let (first, rest) = segments.split_first()?;
        let mut path = module.clone();
        match first.as_str() {
            "crate" => return Some(rest.to_vec()),
            "self" => {}
            "super" => {
                path.pop();
            }
            child => {
                path.push(child.to_owned());
                if !self.files.contains_key(&path) {
                    return None;
                }
            }
        }
        let mut rest = rest.iter();
        for segment in rest.by_ref() {
            if segment != "super" {
                path.push(segment.clone());
                break;
            }
            path.pop();
        }
        path.extend(rest.cloned());
        Some(path)
    }

    /// The module in which what a path names is defined, looking through what modules on the way re-export.
    fn defining_module(&self, path: &Module) -> Module {
        let mut path = path.clone();
        for _ in 0..8 {
            let len = (0..=path.len()).rev().find(|len| self.files.contains_key(&path[..*len])).unwrap_or(0);
            let Some(name) = path.get(len) else { return path };
            let Some(target) = self.bindings.get(&path[..len]).and_then(|bound| bound.get(name)) else {
                path.truncate(len);
                return path;
            };
            let rest = path.split_off(len + 1);
            path = target.iter().cloned().chain(rest).collect();
        }
        path
    }

    /// Every pair of different modules of which the first names something that the second defines.
    fn imports(&self) -> BTreeSet<(Module, Module)> {
        let mut imports = BTreeSet::new();
        for (module, source) in &self.files {
            for named in named_paths(source.before_tests()) {
                let Some(path) = self.path_from_root(module, &named.segments) else { continue };
                let target = self.defining_module(&path);
                if target != *module {
                    imports.insert((module.clone(), target));
                }
            }
        }
        imports
    }
}

fn join(module: &[String]) -> String {
    if module.is_empty() { "lib.rs".to_owned() } else { module.join("::") }
}

pub(crate) fn upward_imports(sources: &[Source]) -> Vec<String> {
    let library = Library::new(sources);
    let mut findings = Vec::new();
    for module in library.files.keys() {
        if let Some(layer) = module.first()
            && !LAYERS.contains(&layer.as_str())
        {
            findings.push(format!("{}: `{layer}` has no place in the order", library.files[module].shown()));
        }
    }
    for (from, to) in library.imports() {
        let file = library.files[&from].shown();
        // `lib.rs` is above everything and may import everything; nothing may import from it.
        let Some(layer) = from.first() else { continue };
        let place = |layer: Option<&String>| {
            layer.map_or(Some(LAYERS.len()), |layer| LAYERS.iter().position(|place| place == layer))
        };
        if place(to.first()) > place(Some(layer)) {
            let imported = to.first().map_or("lib.rs", String::as_str);
            findings.push(format!("{file}: `{layer}` may not import `{imported}`"));
        }
        if to.first() == Some(layer) {
            findings.extend(upward_part(&from, &to).map(|finding| format!("{file}: {finding}")));
        }
    }
    findings
}

/// What is wrong with an import inside a folder that has an order.
fn upward_part(from: &Module, to: &Module) -> Option<String> {
    let (_, parts) = PARTS.iter().find(|(folder, _)| from.first().is_some_and(|layer| layer == folder))?;
    // `mod.rs` is above its parts.
    let part = from.get(1)?;
    let Some(place) = parts.iter().position(|place| place == part) else {
        return Some(format!("`{}` has no place in the order", join(from)));
    };
    let imported = to.get(1).map_or(OWN, String::as_str);
    let is_below = parts.iter().position(|place| *place == imported).is_some_and(|other| other <= place);
    (!is_below).then(|| format!("`{}` may not import `{}`", join(from), join(to)))
}

/// Parts of one folder that import each other in a circle. What `mod.rs` defines belongs to no part.
pub(crate) fn circular_imports(sources: &[Source]) -> Vec<String> {
    let mut edges: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (from, to) in Library::new(sources).imports() {
        let shared = from.iter().zip(&to).take_while(|(from, to)| from == to).count();
        if shared < from.len() && shared < to.len() {
            edges.entry(from[..=shared].to_vec()).or_default().insert(to[..=shared].to_vec());
        }
    }
    let mut findings = Vec::new();
    for start in edges.keys() {
        // Everything that the part reaches, and over what.
        let mut reached: BTreeMap<&Module, &Module> = BTreeMap::new();
        let mut open = vec![start];
        while let Some(part) = open.pop() {
            for next in edges.get(part).into_iter().flatten() {
                if !reached.contains_key(next) {
                    reached.insert(next, part);
                    open.push(next);
                }
            }
        }
        if let Some(last) = reached.get(start) {
            findings.push(format!("`{}` reaches itself over `{}`", join(start), join(last)));
        }
    }
    findings
}

#[test]
fn an_upward_import_is_named_however_it_is_written() {
    let rest = [
        ("src/lib.rs", "mod engine; mod format; pub use engine::Finding;"),
        ("src/engine/mod.rs", "mod check; pub use check::Finding;"),
        ("src/engine/check.rs", ""),
        ("src/format/mod.rs", "mod twin;"),
    ];
    let imports = [
        "use crate::engine::Finding;",
        "use crate::{engine::{check::Finding as Other}};",
        "fn f() -> super::super::engine::Finding {}",
        "fn f() { crate::engine::g() }",
    ];
    for import in imports {
        let files: Vec<_> = rest.into_iter().chain([("src/format/twin.rs", import)]).collect();
        assert_eq!(upward_imports(&sources(&files)), ["format/twin.rs: `format` may not import `engine`"], "{import}");
    }
    for import in ["// use crate::engine::Finding;", "const S: &str = \"crate::engine::g\";", "use std::fmt;"] {
        let files: Vec<_> = rest.into_iter().chain([("src/format/twin.rs", import)]).collect();
        assert_eq!(upward_imports(&sources(&files)), NO_FINDINGS);
    }
    let gated = "#[cfg(test)]\nmod tests {\n    use crate::engine::Finding;\n}\n";
    let files: Vec<_> = rest.into_iter().chain([("src/format/twin.rs", gated)]).collect();
    assert_eq!(upward_imports(&sources(&files)), NO_FINDINGS);
}

#[test]
fn a_name_taken_from_lib_rs_counts_as_the_module_that_defines_it() {
    let files = [
        ("src/lib.rs", "mod engine; mod error; mod ids; pub use error::Error; pub use engine::Finding;"),
        ("src/engine/mod.rs", "pub struct Finding;"),
        ("src/error.rs", "use crate::Finding;"),
        ("src/ids.rs", "use crate::Error; use crate::Missing;"),
    ];
    let expected = ["error.rs: `error` may not import `engine`", "ids.rs: `ids` may not import `lib.rs`"];
    assert_eq!(upward_imports(&sources(&files)), expected);
}

#[test]
fn the_parts_of_the_engine_have_an_order() {
    let engine = "mod geometry; mod state; mod open; pub(crate) use geometry::Geometry; pub(crate) struct Engine;";
    let check = |path, text| {
        let parts = ["geometry", "state", "open"].map(|part| format!("src/engine/{part}.rs"));
        let mut files = vec![Source::new("src/lib.rs", "mod engine;"), Source::new("src/engine/mod.rs", engine)];
        files.extend(parts.iter().map(|part| Source::new(part, if part == path { text } else { "" })));
        upward_imports(&files)
    };
    let geometry = "src/engine/geometry.rs";
    assert_eq!(
        check(geometry, "use super::state::State;"),
        ["engine/geometry.rs: `engine::geometry` may not import `engine::state`"]
    );
    assert_eq!(
        check("src/engine/state.rs", "use super::Engine;"),
        ["engine/state.rs: `engine::state` may not import `engine`"]
    );
    assert_eq!(check("src/engine/state.rs", "use super::Geometry;"), NO_FINDINGS);
    assert_eq!(check("src/engine/open.rs", "use super::{Engine, state::State};"), NO_FINDINGS);
    let stray =
        sources(&[("src/lib.rs", ""), ("src/engine/mod.rs", "mod stray;"), ("src/engine/stray.rs", "use super::f;")]);
    assert_eq!(upward_imports(&stray), ["engine/stray.rs: `engine::stray` has no place in the order"]);
    let stray = sources(&[("src/lib.rs", "mod stray;"), ("src/stray.rs", "")]);
    assert_eq!(upward_imports(&stray), ["stray.rs: `stray` has no place in the order"]);
}

#[test]
fn a_circle_of_imports_is_found() {
    let files = [
        ("src/pager/mod.rs", "mod a; mod b; mod c; pub struct Pager;"),
        ("src/pager/a.rs", "use super::Pager; use super::b::B;"),
        ("src/pager/b.rs", "use super::c::C;"),
        ("src/pager/c.rs", "use super::a::A;"),
    ];
    assert_eq!(circular_imports(&sources(&files)).len(), 3);
    assert_eq!(circular_imports(&sources(&files[..3])), NO_FINDINGS);
}
