//! # Purpose
//! The numbers.
//!
//! # Invariants kept here
//! - 01 this host, 02 the network, 03 Okta's token endpoint, 04 Okta's API, 05 Apono, 06 the SCIM service, 07 state and
//!   audit trail, 08 directory runs, 09 commands and the process, 10 results to Apono. New ones are added at the end of
//!   their hundred.
//!
//! # Not here
//! What they mean: the tables beside.

/// A failure; `AOC-0302` for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum ErrorCode {
    /// The configuration is wrong.
    ConfigInvalid = 101,
    /// Something in the configuration can be run with, and is hardly meant.
    ConfigDoubtful = 102,
    /// A secret file is not there.
    SecretMissing = 110,
    /// A secret file is empty.
    SecretEmpty = 111,
    /// A secret file cannot be read.
    SecretUnreadable = 112,
    /// A secret file is not text.
    SecretNotText = 113,
    /// A secret file is too large.
    SecretTooLarge = 114,
    /// The Okta credentials are not the JSON object that they should be.
    CredentialsShape = 115,
    /// A token file holds more than a token.
    SecretNotAToken = 116,
    /// A secret file is mounted in a way that never shows a change.
    FixedMount = 117,
    /// A new token or password is mounted that its peer does not take.
    NewTokenNotTaken = 118,
    /// It cannot be known whether the kill switch's file is there.
    KillSwitchUnseen = 119,
    /// The private key does not parse.
    KeyDamaged = 120,
    /// Only the public half of a key is there.
    KeyPublicOnly = 121,
    /// The private key is encrypted.
    KeyEncrypted = 122,
    /// The key is of a kind that Okta does not accept.
    KeyWrongKind = 123,
    /// The key is made for something else.
    KeyWrongUse = 124,
    /// The key is too short or too long.
    KeySize = 125,
    /// The key set holds several private keys.
    KeySeveral = 126,
    /// The private key does not sign, or none can be made.
    KeyFails = 127,
    /// The CA bundle cannot be used.
    CaBundle = 130,
    /// HTTPS cannot start.
    HttpsFails = 131,
    /// The client certificate for Apono cannot be used.
    ClientCertificate = 132,
    /// The proxy's credentials are not user and password.
    ProxyCredentials = 133,
    /// The proxy's address is none.
    ProxyAddress = 134,
    /// A file of the connector, or a folder above it, is open to others.
    SecretExposed = 135,
    /// A host name is not resolved.
    NameNotResolved = 201,
    /// The connection is refused.
    ConnectionRefused = 202,
    /// The host is not reached.
    HostUnreachable = 203,
    /// The certificate is signed by nobody whom this host trusts.
    UnknownIssuer = 204,
    /// The certificate is not valid at this time.
    CertificateTime = 205,
    /// The certificate is for another name.
    CertificateName = 206,
    /// TLS does not come about.
    TlsFails = 207,
    /// The proxy does not let the connection through.
    ProxyFails = 208,
    /// No answer came in time.
    NoAnswerInTime = 209,
    /// The connection broke off.
    ConnectionBroken = 210,
    /// An answer is too large.
    AnswerTooLarge = 211,
    /// The proxy wants other credentials.
    ProxyWantsCredentials = 212,
    /// The peer wants another client certificate.
    CertificateWanted = 213,
    /// TLS is opened on the way, by somebody whom the CA bundle lets.
    TlsOpened = 214,
    /// This host's clock is wrong.
    WrongClock = 220,
    /// Okta does not know this client.
    UnknownClient = 301,
    /// The key's id is not registered with the application.
    KeyNotRegistered = 302,
    /// The private key does not belong to the application.
    WrongKey = 303,
    /// The application has no public key.
    NoKeyRegistered = 304,
    /// This is not the address that Okta expects.
    WrongAddress = 305,
    /// The client id does not fit the assertion.
    WrongClientId = 306,
    /// Okta has seen this assertion or proof before.
    SeenBefore = 307,
    /// Okta cannot read the assertion.
    AssertionMalformed = 308,
    /// The application is of another type.
    WrongAppType = 309,
    /// No scope is granted to the application.
    NoScopeGranted = 310,
    /// Okta does not know one of the scopes.
    UnknownScope = 311,
    /// The network zone of the application does not include this host.
    NetworkZone = 312,
    /// The application demands proofs of possession.
    ProofDemanded = 313,
    /// Okta does not take the proof of possession.
    ProofRefused = 314,
    /// Okta wants another nonce each time.
    NonceDemanded = 315,
    /// What answers is not an Okta organization.
    NotOkta = 316,
    /// Okta's token endpoint has a problem of its own.
    TokenTrouble = 317,
    /// Okta refuses the token request.
    TokenRefused = 318,
    /// The answer to a token request is no token.
    TokenUnreadable = 319,
    /// A scope is not granted.
    ScopeMissing = 320,
    /// A new key is mounted that Okta does not take.
    NewKeyNotTaken = 321,
    /// Okta does not accept the token.
    TokenNotAccepted = 401,
    /// The connector's administrator role does not allow this.
    NoPermission = 402,
    /// The token lacks a scope.
    InsufficientScope = 403,
    /// Okta does not find it.
    NotFound = 404,
    /// Okta does not know the address.
    WrongPath = 405,
    /// Okta has a problem of its own.
    OktaTrouble = 406,
    /// Okta is in read-only mode.
    OktaReadOnly = 407,
    /// Okta's rate limit is used up.
    OktaThrottled = 408,
    /// The organization does not have the feature.
    FeatureMissing = 409,
    /// Okta refuses the request.
    RequestRefused = 410,
    /// A listing cannot be gone on with.
    CursorExpired = 411,
    /// The user's status does not allow it.
    UserStatusForbids = 412,
    /// This kind of group cannot be changed.
    GroupIsReadOnly = 413,
    /// Group rules are being set up.
    RulesBusy = 414,
    /// The organization is deactivated.
    OrganizationDeactivated = 415,
    /// Okta's answer cannot be read.
    OktaUnreadable = 416,
    /// A listing of Okta's cannot be known to be complete.
    ListingIncomplete = 417,
    /// Okta refuses, for a reason that this version has no entry for.
    OktaRefused = 418,
    /// Okta has accepted a removal, and shows the membership.
    RemovalNotSeen = 419,
    /// Okta does not find what it has just shown.
    OktaContradicts = 420,
    /// A group rule has come to fill the group of a grant.
    RuleFillsGroup = 421,
    /// The connector may do more in Okta than it needs.
    MoreThanNeeded = 422,
    /// Something else changes the same thing in Okta.
    ChangesMeet = 423,
    /// Apono does not accept the connector token.
    ConnectorTokenRefused = 501,
    /// Apono does not let this connector do that.
    ConnectorForbidden = 502,
    /// Apono does not know it.
    UnknownToApono = 503,
    /// The lease of a task was lost.
    LeaseLost = 504,
    /// A task was finished already.
    TaskFinished = 505,
    /// Apono asks to go slower.
    AponoThrottled = 506,
    /// Apono has a problem of its own.
    AponoTrouble = 507,
    /// Apono's answer cannot be read.
    AponoUnreadable = 508,
    /// Apono refuses, for a reason that this version has no entry for.
    AponoRefused = 509,
    /// A call of the custom integration did not show the bearer token.
    CallNotAdmitted = 510,
    /// The SCIM service does not accept the token.
    ScimTokenRefused = 601,
    /// The SCIM service does not let the connector do that.
    ScimForbidden = 602,
    /// The name or id is taken at the SCIM service.
    ScimTaken = 603,
    /// The SCIM service finds nothing to change.
    ScimNoTarget = 604,
    /// The SCIM service does not take the filter.
    ScimFilter = 605,
    /// The SCIM service takes fewer at once.
    ScimTooMany = 606,
    /// The SCIM service does not take a value.
    ScimValue = 607,
    /// The object has changed at the SCIM service meanwhile.
    ScimVersion = 608,
    /// The SCIM service does not find the object.
    ScimNotFound = 609,
    /// The SCIM service asks to go slower.
    ScimThrottled = 610,
    /// The SCIM service has a problem of its own.
    ScimTrouble = 611,
    /// The SCIM service's answer cannot be read.
    ScimUnreadable = 612,
    /// The SCIM service refuses, for a reason that this version has no entry for.
    ScimRefused = 613,
    /// The SCIM service accepts a change and makes another, or none.
    ScimIgnoresChange = 614,
    /// The SCIM service does not show the members of groups.
    ScimHidesMembers = 615,
    /// Users are not at the SCIM service yet.
    ScimUserMissing = 616,
    /// The state is in use by another process.
    StateInUse = 701,
    /// The state belongs to somebody else.
    StateForeign = 702,
    /// The state was written by a newer version.
    StateTooNew = 703,
    /// The state is damaged.
    StateDamaged = 704,
    /// The state's file cannot be used.
    StateUnusable = 705,
    /// The journal cannot be written.
    JournalFails = 706,
    /// No room is left on the disk.
    DiskFull = 707,
    /// The audit trail cannot be written.
    AuditFails = 708,
    /// Another process writes the audit trail.
    AuditInUse = 709,
    /// The directory's local store fails.
    StoreFails = 710,
    /// Grants are live in an organization that is not configured any more.
    StrandedGrants = 711,
    /// An address cannot be listened on.
    CannotListen = 712,
    /// The database does not answer.
    DatabaseAway = 713,
    /// The database refuses the connector.
    DatabaseRefuses = 714,
    /// A statement fails at the database.
    DatabaseFails = 715,
    /// A state was copied in part.
    StateHalf = 716,
    /// Another state is in the way of a copy.
    StateInTheWay = 717,
    /// There is no state to copy.
    NoState = 718,
    /// The database is too old.
    DatabaseTooOld = 719,
    /// The shared journal has lost entries.
    JournalRewound = 720,
    /// Another daemon was faster.
    OthersWereFaster = 721,
    /// A record does not fit what is known.
    RecordUnfit = 722,
    /// The connector sees no users or no groups at all.
    RoleMissing = 801,
    /// Okta's side could not be read completely.
    SourceIncomplete = 802,
    /// What was to be removed is there at a second look.
    EvidenceDisagrees = 803,
    /// The breaker holds removals.
    BreakerHolds = 804,
    /// The SCIM service's side could not be read completely.
    ProviderIncomplete = 805,
    /// The world has moved since the plan was made.
    PlanMoved = 806,
    /// The attribute mapping is wrong.
    MappingWrong = 807,
    /// Another daemon runs the directory.
    DirectoryElsewhere = 808,
    /// Something of Okta's side is left as it is.
    ObjectLeftOut = 809,
    /// Too many ask for a directory run.
    DirectoryBusy = 810,
    /// The connector does not run.
    NotRunning = 901,
    /// The running connector does not answer.
    Deaf = 902,
    /// The running connector does not do that.
    DaemonRefused = 903,
    /// The file is no plan that can be used.
    PlanFile = 904,
    /// It is not clear which organization is meant.
    WhichOrganization = 905,
    /// A file is in the way.
    FileInTheWay = 906,
    /// A file cannot be written.
    FileNotWritten = 907,
    /// Something in Okta is in the way of setting up.
    SetupObstacle = 908,
    /// The audit trail is broken.
    AuditTrailBroken = 909,
    /// The audit trail cannot be read.
    AuditTrailUnreadable = 910,
    /// Logging cannot be set up.
    LogSettings = 911,
    /// The process cannot have what every process needs.
    ProcessLimits = 912,
    /// A secret was found where none may be, and held back.
    SecretHeldBack = 913,
    /// A file that was named on the command line cannot be read, or is not what it should be.
    FileUnreadable = 914,
    /// The command line is wrong.
    CommandLine = 915,
    /// A part of the process has died.
    TaskDied = 916,
    /// A stop did not wait for everything.
    StopCut = 917,
    /// The process's memory may be read by others of its user.
    MemoryReadable = 918,
    /// The service manager cannot be told anything.
    ManagerNotTold = 919,
    /// No such grant was ever heard of.
    GrantUnknown = 920,
    /// The program has a defect.
    Defect = 921,
    /// The rotation of a key stands at another step.
    RotationStep = 922,
    /// The connector's policy forbids a grant.
    ResultRefusedPolicy = 1001,
    /// A group rule fills the group that is asked for.
    ResultRefusedRule = 1002,
    /// The group that is asked for carries administrator roles.
    ResultRefusedAdmin = 1003,
    /// The connector cannot promise to end a grant now.
    ResultRefusedDegraded = 1004,
    /// Okta has no such user.
    ResultNoUser = 1005,
    /// Several users have the name.
    ResultManyUsers = 1006,
    /// Okta has no such group.
    ResultNoGroup = 1007,
    /// Okta has accepted a change whose effect was not seen in time.
    ResultUnverified = 1008,
    /// What a task asks cannot be done or answered now.
    ResultUnavailable = 1009,
    /// The connector does no tasks of this kind.
    ResultUnsupported = 1010,
    /// A task or a call cannot be understood.
    ResultMalformed = 1011,
    /// A task is for an integration that this connector does not have.
    ResultNoIntegration = 1012,
    /// Something later came first.
    ResultSuperseded = 1013,
    /// A task came after its own end.
    ResultExpired = 1014,
    /// The groups of a task went different ways.
    ResultPartial = 1015,
    /// No failure: what was asked for is so.
    ResultDone = 1016,
    /// No failure: the user is a member by another right.
    ResultKept = 1017,
}

impl ErrorCode {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::ConfigInvalid,
        Self::ConfigDoubtful,
        Self::SecretMissing,
        Self::SecretEmpty,
        Self::SecretUnreadable,
        Self::SecretNotText,
        Self::SecretTooLarge,
        Self::CredentialsShape,
        Self::SecretNotAToken,
        Self::FixedMount,
        Self::NewTokenNotTaken,
        Self::KillSwitchUnseen,
        Self::KeyDamaged,
        Self::KeyPublicOnly,
        Self::KeyEncrypted,
        Self::KeyWrongKind,
        Self::KeyWrongUse,
        Self::KeySize,
        Self::KeySeveral,
        Self::KeyFails,
        Self::CaBundle,
        Self::HttpsFails,
        Self::ClientCertificate,
        Self::ProxyCredentials,
        Self::ProxyAddress,
        Self::SecretExposed,
        Self::NameNotResolved,
        Self::ConnectionRefused,
        Self::HostUnreachable,
        Self::UnknownIssuer,
        Self::CertificateTime,
        Self::CertificateName,
        Self::TlsFails,
        Self::ProxyFails,
        Self::NoAnswerInTime,
        Self::ConnectionBroken,
        Self::AnswerTooLarge,
        Self::ProxyWantsCredentials,
        Self::CertificateWanted,
        Self::TlsOpened,
        Self::WrongClock,
        Self::UnknownClient,
        Self::KeyNotRegistered,
        Self::WrongKey,
        Self::NoKeyRegistered,
        Self::WrongAddress,
        Self::WrongClientId,
        Self::SeenBefore,
        Self::AssertionMalformed,
        Self::WrongAppType,
        Self::NoScopeGranted,
        Self::UnknownScope,
        Self::NetworkZone,
        Self::ProofDemanded,
        Self::ProofRefused,
        Self::NonceDemanded,
        Self::NotOkta,
        Self::TokenTrouble,
        Self::TokenRefused,
        Self::TokenUnreadable,
        Self::ScopeMissing,
        Self::NewKeyNotTaken,
        Self::TokenNotAccepted,
        Self::NoPermission,
        Self::InsufficientScope,
        Self::NotFound,
        Self::WrongPath,
        Self::OktaTrouble,
        Self::OktaReadOnly,
        Self::OktaThrottled,
        Self::FeatureMissing,
        Self::RequestRefused,
        Self::CursorExpired,
        Self::UserStatusForbids,
        Self::GroupIsReadOnly,
        Self::RulesBusy,
        Self::OrganizationDeactivated,
        Self::OktaUnreadable,
        Self::ListingIncomplete,
        Self::OktaRefused,
        Self::RemovalNotSeen,
        Self::OktaContradicts,
        Self::RuleFillsGroup,
        Self::MoreThanNeeded,
        Self::ChangesMeet,
        Self::ConnectorTokenRefused,
        Self::ConnectorForbidden,
        Self::UnknownToApono,
        Self::LeaseLost,
        Self::TaskFinished,
        Self::AponoThrottled,
        Self::AponoTrouble,
        Self::AponoUnreadable,
        Self::AponoRefused,
        Self::CallNotAdmitted,
        Self::ScimTokenRefused,
        Self::ScimForbidden,
        Self::ScimTaken,
        Self::ScimNoTarget,
        Self::ScimFilter,
        Self::ScimTooMany,
        Self::ScimValue,
        Self::ScimVersion,
        Self::ScimNotFound,
        Self::ScimThrottled,
        Self::ScimTrouble,
        Self::ScimUnreadable,
        Self::ScimRefused,
        Self::ScimIgnoresChange,
        Self::ScimHidesMembers,
        Self::ScimUserMissing,
        Self::StateInUse,
        Self::StateForeign,
        Self::StateTooNew,
        Self::StateDamaged,
        Self::StateUnusable,
        Self::JournalFails,
        Self::DiskFull,
        Self::AuditFails,
        Self::AuditInUse,
        Self::StoreFails,
        Self::StrandedGrants,
        Self::CannotListen,
        Self::DatabaseAway,
        Self::DatabaseRefuses,
        Self::DatabaseFails,
        Self::StateHalf,
        Self::StateInTheWay,
        Self::NoState,
        Self::DatabaseTooOld,
        Self::JournalRewound,
        Self::OthersWereFaster,
        Self::RecordUnfit,
        Self::RoleMissing,
        Self::SourceIncomplete,
        Self::EvidenceDisagrees,
        Self::BreakerHolds,
        Self::ProviderIncomplete,
        Self::PlanMoved,
        Self::MappingWrong,
        Self::DirectoryElsewhere,
        Self::ObjectLeftOut,
        Self::DirectoryBusy,
        Self::NotRunning,
        Self::Deaf,
        Self::DaemonRefused,
        Self::PlanFile,
        Self::WhichOrganization,
        Self::FileInTheWay,
        Self::FileNotWritten,
        Self::SetupObstacle,
        Self::AuditTrailBroken,
        Self::AuditTrailUnreadable,
        Self::LogSettings,
        Self::ProcessLimits,
        Self::SecretHeldBack,
        Self::FileUnreadable,
        Self::CommandLine,
        Self::TaskDied,
        Self::StopCut,
        Self::MemoryReadable,
        Self::ManagerNotTold,
        Self::GrantUnknown,
        Self::Defect,
        Self::RotationStep,
        Self::ResultRefusedPolicy,
        Self::ResultRefusedRule,
        Self::ResultRefusedAdmin,
        Self::ResultRefusedDegraded,
        Self::ResultNoUser,
        Self::ResultManyUsers,
        Self::ResultNoGroup,
        Self::ResultUnverified,
        Self::ResultUnavailable,
        Self::ResultUnsupported,
        Self::ResultMalformed,
        Self::ResultNoIntegration,
        Self::ResultSuperseded,
        Self::ResultExpired,
        Self::ResultPartial,
        Self::ResultDone,
        Self::ResultKept,
    ];

    /// Without its letters.
    pub fn number(self) -> u16 {
        self as u16
    }
}
