//! Tests over real PostgreSQL and the simulator by HTTP; everything is in `tests/`.
