//! How requests name an orchestrator's tenant and folder, and what its connector needs to know.

use std::sync::Arc;

use super::orchestrators::{AuthConfig, Edition, OrchestratorConfig};
use crate::connectors::{FOLDER_PATH_HEADER, OrchestratorSite, folder_path_value};
use crate::rules::FolderRef;

/// The header that names a folder. A path goes encoded, since it may hold any letter. A key with characters that no
/// header may carry is refused.
///
/// # Errors
/// Why there is no such header.
pub fn folder_header(folder: &FolderRef) -> Result<(String, String), String> {
    Ok(match folder {
        FolderRef::Id(id) => ("X-UIPATH-OrganizationUnitId".to_owned(), id.to_string()),
        FolderRef::Key(key) if key.bytes().all(|b| b.is_ascii_graphic()) => ("X-UIPATH-FolderKey".to_owned(), key.clone()),
        FolderRef::Key(_) => return Err("the folder's key is no GUID".to_owned()),
        FolderRef::Path(path) => (FOLDER_PATH_HEADER.to_owned(), folder_path_value(path)),
    })
}

/// The tenant's name where a host serves several: standalone, Automation Suite (harmless there), and user keys of the
/// older cloud.
pub fn tenant_header(config: &OrchestratorConfig) -> Option<(String, String)> {
    let needed = config.edition != Edition::Cloud || matches!(config.auth, AuthConfig::UserKey { .. });
    let tenant = config.tenant.as_ref().filter(|_| needed)?;
    Some(("X-UIPATH-TenantName".to_owned(), tenant.clone()))
}

impl OrchestratorConfig {
    /// What its connector needs to know.
    #[must_use]
    pub fn site(&self) -> OrchestratorSite {
        OrchestratorSite {
            name: Arc::clone(&self.name),
            url: self.url.clone(),
            tenant: tenant_header(self).map(|(_, tenant)| tenant),
            folder: self.folder.as_ref().and_then(|folder| folder_header(folder).ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn folders_are_named_by_one_header() {
        let header = |folder| folder_header(&folder).unwrap();
        assert_eq!(header(FolderRef::Id(1_964_513)), ("X-UIPATH-OrganizationUnitId".into(), "1964513".into()));
        assert_eq!(header(FolderRef::Key("c0ffee00-1".into())), ("X-UIPATH-FolderKey".into(), "c0ffee00-1".into()));
        // "AB" in UTF-16LE is 41 00 42 00; the letters outside ASCII take part like all others.
        assert_eq!(header(FolderRef::Path("AB".into())), ("X-UIPATH-FolderPath-Encoded".into(), "QQBCAA==".into()));
        assert_eq!(header(FolderRef::Path("Ä/😀".into())).1, STANDARD.encode([0xc4, 0, 0x2f, 0, 0x3d, 0xd8, 0, 0xde]));
        assert!(folder_header(&FolderRef::Key("a\r\nx: y".into())).is_err());
    }
}
