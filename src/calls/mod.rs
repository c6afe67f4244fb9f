//! The edge that sends the requests of connectors: authorises them, sends them, reads the answers.
