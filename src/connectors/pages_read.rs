//! Reading `paginate`.

use super::decode::{Decoder, RESPONSE};
use super::limits::{PAGES, PAGES_DEFAULT, ROWS, ROWS_ADVISED};
use super::operation::{PageBy, PageSize, Paginate};
use super::{read, shapes};
use crate::yaml::{Fields, Node, Yaml};

/// Reads `paginate`.
pub(super) fn paginate(node: &Node, decoder: &mut Decoder<'_>) -> Option<Paginate> {
    let fields = Fields::read(node, "`paginate`", &shapes::PAGINATE, decoder.faults)?;
    let ways: Vec<_> = fields.entries().iter().filter(|(key, _)| shapes::PAGE_WAYS.contains(&key.name.as_str())).collect();
    let [(key, inner)] = ways.as_slice() else {
        let message = format!("`paginate` names {} ways; expected exactly one of {}", ways.len(), shapes::PAGE_WAYS.join(", "));
        decoder.error("bad-value", fields.place, message);
        return None;
    };
    let max_pages = fields.integer("max", PAGES, decoder.faults).and_then(|n| u32::try_from(n).ok()).unwrap_or(PAGES_DEFAULT);
    let (what, shape) = match key.name.as_str() {
        "page" => ("`paginate.page`", &shapes::BY_PAGE),
        "offset" => ("`paginate.offset`", &shapes::BY_OFFSET),
        "cursor" => ("`paginate.cursor`", &shapes::BY_CURSOR),
        "next_url" => ("`paginate.next_url`", &shapes::BY_URL),
        _ if matches!(inner.value, Yaml::Bool(true)) => return Some(Paginate { by: PageBy::NextLink, max_pages, until: None }),
        _ => ("`paginate.next_link`", &shapes::BY_LINK),
    };
    let own = Fields::read(inner, what, shape, decoder.faults)?;
    decoder.seeing(RESPONSE, |decoder| {
        let until = read::optional(&own, "until", decoder);
        let sized = shape.key("size").is_some();
        let size = if sized { page_size(&own, decoder) } else { Some(None) };
        let param = shape.key("param").map(|_| {
            own.require("param", what, decoder.faults);
            own.text("param", decoder.faults).map(|(text, _)| text.to_owned())
        });
        let from = shape.key("from").map(|_| own.require("from", what, decoder.faults).and_then(|node| decoder.expression(node, "from")));
        let start = shape.key("start").and_then(|_| own.integer("start", 0..=u64::from(u32::MAX), decoder.faults));
        let (until, size) = (until?, size?);
        let by = match key.name.as_str() {
            "page" => PageBy::Page { param: param??, start: start.unwrap_or(1), size },
            "offset" => {
                let Some(size) = size else {
                    decoder.error_help("missing-key", own.place, format!("{what} has no `size`"), "say how many rows a page has");
                    return None;
                };
                PageBy::Offset { param: param??, start: start.unwrap_or(0), size }
            }
            "cursor" => PageBy::Cursor { param: param??, from: from??, size },
            "next_url" => PageBy::NextUrl { from: from?? },
            _ => PageBy::NextLink,
        };
        Some(Paginate { by, max_pages, until })
    })
}

fn page_size(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Option<PageSize>> {
    let param = fields.text("size_param", decoder.faults).map(|(text, _)| text.to_owned());
    let Some(node) = fields.get("size") else {
        if let Some(place) = fields.key_place("size_param") {
            decoder.error_help("missing-key", place, "`size_param` without `size`", "say how many rows are asked for");
            return None;
        }
        return Some(None);
    };
    let rows = fields.integer("size", ROWS, decoder.faults)?;
    if rows > ROWS_ADVISED {
        let message = format!("`size` is {rows}; most services give at most {ROWS_ADVISED} rows a page");
        decoder.warning("page-size", &node.place, message, "a page that is cut by the service would count as the last one");
    }
    Some(Some(PageSize { param, rows }))
}
