//! # Purpose
//! What a control plane is set up with, and the ways in which its SCIM side may misbehave.
//!
//! # Invariants kept here
//! - The defaults describe a well-behaved provider; every deviation is switched on by name.
//!
//! # Not here
//! Faults that fire a given number of times: see [`crate::fault`].

/// How a control plane starts out.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The only connector this control plane knows; any other answers 404.
    pub connector_id: String,
    /// The bearer token accepted at first. Rotate with [`super::AponoSimulator::set_token`].
    pub token: String,
    /// The integrations that exist; any other answers 404.
    pub integrations: Vec<String>,
    /// What a session is told. One that has been silent for three intervals is not live any more.
    pub heartbeat_interval_sec: u64,
    /// The directory side.
    pub scim: ScimSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connector_id: "okta-connector".into(),
            token: "placeholder-connector-token".into(),
            integrations: vec!["069cf551-c124-43f6".into()],
            heartbeat_interval_sec: 30,
            scim: ScimSettings::default(),
        }
    }
}

/// What the SCIM service provider can do, and which habits of real ones it copies.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "a panel of independent switches is what this is")]
pub struct ScimSettings {
    /// A token of its own; `None` accepts the connector's.
    pub token: Option<String>,
    /// The most resources in one page, and what `ServiceProviderConfig` says about it.
    pub max_results: usize,
    /// Without it PATCH answers 501.
    pub patch: bool,
    /// Says that it has PATCH, answers it with success and changes nothing.
    pub ignores_patch: bool,
    /// A PATCH that names the path of an attribute answers 400 `invalidPath`; members may be named.
    pub refuses_paths: bool,
    /// Without it PUT answers 501.
    pub put: bool,
    /// Without it a `filter` answers 400 `invalidFilter`.
    pub filter: bool,
    /// Sends `ETag` and `meta.version`, and holds writers to `If-Match`.
    pub etag: bool,
    /// A second group of the same name answers 409.
    pub unique_group_names: bool,
    /// A second resource of the same `externalId` answers 409.
    pub unique_external_ids: bool,
    /// Users' PATCH answers 200 with the user; otherwise 204.
    pub user_patch_echo: bool,
    /// Groups' PATCH answers 200 with the group; otherwise 204.
    pub group_patch_echo: bool,
    /// Accepts a removal by `members[value eq "…"]` and changes nothing.
    pub ignores_member_filter_removal: bool,
    /// Accepts a removal from `members` by a list of values and changes nothing.
    pub ignores_member_list_removal: bool,
    /// A removal from `members` by a list of values removes every member, as a strict reader of RFC 7644 does.
    pub member_list_removal_removes_all: bool,
    /// Accepts a replacement of `members` and changes nothing.
    pub ignores_member_replacement: bool,
    /// Refuses a PATCH or PUT that names more members than this, with 413.
    pub max_members_per_write: Option<usize>,
    /// Refuses them with 400 `tooMany` instead.
    pub too_many_is_400: bool,
    /// Shows members of a group that is asked for alone, and none in listings.
    pub lists_without_members: bool,
    /// Never shows members, though it keeps them.
    pub hides_members: bool,
    /// PUT of a group stores no members.
    pub put_drops_members: bool,
    /// Shows the members without their `type`.
    pub omits_member_type: bool,
    /// Answers a filtered request with everything.
    pub ignores_filter: bool,
    /// Answers every page with the first one.
    pub ignores_start_index: bool,
    /// Does not store `externalId`.
    pub forgets_external_id: bool,
    /// Does not store these attributes of users.
    pub drops: &'static [&'static str],
    /// A `userName` that differs in more than case from what is stored answers 400 `mutability`.
    pub fixed_user_names: bool,
    /// Counts one resource more on every page but the first.
    pub drifting_totals: bool,
    /// A 409 comes without `scimType`.
    pub conflict_without_scim_type: bool,
    /// Sends booleans as `"True"` and `"False"`.
    pub string_booleans: bool,
    /// Sends the numbers of a list as strings.
    pub string_numbers: bool,
}

impl Default for ScimSettings {
    fn default() -> Self {
        Self {
            token: None,
            max_results: 200,
            patch: true,
            ignores_patch: false,
            refuses_paths: false,
            put: true,
            filter: true,
            etag: false,
            unique_group_names: false,
            unique_external_ids: false,
            user_patch_echo: true,
            group_patch_echo: false,
            ignores_member_filter_removal: false,
            ignores_member_list_removal: false,
            member_list_removal_removes_all: false,
            ignores_member_replacement: false,
            max_members_per_write: None,
            too_many_is_400: false,
            lists_without_members: false,
            hides_members: false,
            put_drops_members: false,
            omits_member_type: false,
            ignores_filter: false,
            ignores_start_index: false,
            forgets_external_id: false,
            drops: &[],
            fixed_user_names: false,
            drifting_totals: false,
            conflict_without_scim_type: false,
            string_booleans: false,
            string_numbers: false,
        }
    }
}
