//! zarpar-hooks
