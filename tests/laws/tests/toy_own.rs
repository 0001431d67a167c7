//! The laws, held to the toy with an object per Service.

use evenkeel_laws::toys::own::rig::OwnRig;

evenkeel_laws::all_laws!(OwnRig, "proptest-regressions/toy_own.txt");
