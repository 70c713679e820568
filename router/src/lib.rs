//! zarpar-router
