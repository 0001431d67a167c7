//! Every code of AWS in one table (Decides).
