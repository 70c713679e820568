//! zarpar-receiver
