//! Sans-IO SCTP (RFC 9260) with multi-homing.
