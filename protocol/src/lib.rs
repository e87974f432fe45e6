//! Sans-IO state machines of the Towpath secure file transfer protocol.
