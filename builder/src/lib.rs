//! zarpar-builder
