//! Sockets and the event loop of Towpath.
