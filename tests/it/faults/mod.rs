//! Things break while commands are given without pause. After each fault every promise is checked.

mod kill;
