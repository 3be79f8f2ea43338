//! Whole stories: from the caller's request to what the light really shows.

mod colour;
mod fleet;
mod outage;
