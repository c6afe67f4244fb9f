//! What a step does, as written: templates not yet rendered.

use crate::expr::Template;

/// What a step does, as written: templates not yet rendered. Its shape is this module's own business; the rest of the
/// program sees [`super::Request`].
#[derive(Debug)]
pub struct Action {
    #[expect(dead_code, reason = "filled in next")]
    template: Template,
}
