//! zarpar-store
