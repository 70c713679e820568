//! zarpar-services
