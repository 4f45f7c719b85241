-- The mission document's own SQL, word for word: what tests/sql/test_mission_faults.py runs to show why it was mended.
-- Never part of an installation.

CREATE TABLE IF NOT EXISTS conversations (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    store_id UUID REFERENCES stores(id) ON DELETE CASCADE NOT NULL,
    created_at TIMESTAMPTZ DEFAULT now(),
    updated_at TIMESTAMPTZ DEFAULT now()
);

CREATE TABLE IF NOT EXISTS conversation_participants (
    conversation_id UUID REFERENCES conversations(id) ON DELETE CASCADE,
    user_id UUID REFERENCES auth.users(id) ON DELETE CASCADE,
    joined_at TIMESTAMPTZ DEFAULT now(),
    last_read_at TIMESTAMPTZ DEFAULT now(),
    PRIMARY KEY (conversation_id, user_id)
);

CREATE TABLE IF NOT EXISTS direct_messages (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    conversation_id UUID REFERENCES conversations(id) ON DELETE CASCADE,
    sender_id UUID REFERENCES auth.users(id) ON DELETE CASCADE,
    content TEXT NOT NULL CHECK (length(content) <= 1000),
    sent_at TIMESTAMPTZ DEFAULT now(),
    is_deleted BOOLEAN DEFAULT false,
    deleted_at TIMESTAMPTZ NULL,
    retention_expires_at TIMESTAMPTZ NULL
);

-- Conversation lookup optimization
CREATE INDEX idx_conversations_store_id ON conversations(store_id);
CREATE INDEX idx_conversations_updated_at ON conversations(updated_at DESC);

-- Participant lookup optimization  
CREATE INDEX idx_participants_user_id ON conversation_participants(user_id);
CREATE INDEX idx_participants_conversation_id ON conversation_participants(conversation_id);

-- Message query optimization
CREATE INDEX idx_messages_conversation_sent ON direct_messages(conversation_id, sent_at DESC);
CREATE INDEX idx_messages_sender_id ON direct_messages(sender_id);

-- Retention policy optimization
CREATE INDEX idx_messages_retention_expires ON direct_messages(retention_expires_at) 
WHERE retention_expires_at IS NOT NULL;

-- Soft delete optimization
CREATE INDEX idx_messages_active ON direct_messages(conversation_id, sent_at DESC) 
WHERE is_deleted = false;

ALTER TABLE conversations ENABLE ROW LEVEL SECURITY;
ALTER TABLE conversation_participants ENABLE ROW LEVEL SECURITY;
ALTER TABLE direct_messages ENABLE ROW LEVEL SECURITY;

-- Users can only see conversations they participate in
CREATE POLICY "Users see their conversations" ON conversations
FOR SELECT USING (
    EXISTS (
        SELECT 1 FROM conversation_participants 
        WHERE conversation_id = conversations.id AND user_id = auth.uid()
    )
);

-- Users can create conversations (handled by application logic)
CREATE POLICY "Users can create conversations" ON conversations
FOR INSERT WITH CHECK (true);

-- Users can update conversation timestamps
CREATE POLICY "Users can update conversation timestamps" ON conversations
FOR UPDATE USING (
    EXISTS (
        SELECT 1 FROM conversation_participants 
        WHERE conversation_id = conversations.id AND user_id = auth.uid()
    )
);

-- Users can view participants in their conversations
CREATE POLICY "Users see their participants" ON conversation_participants
FOR SELECT USING (
    EXISTS (
        SELECT 1 FROM conversation_participants cp
        WHERE cp.conversation_id = conversation_participants.conversation_id 
        AND cp.user_id = auth.uid()
    )
);

-- Users can join conversations they're invited to
CREATE POLICY "Users can join conversations" ON conversation_participants
FOR INSERT WITH CHECK (user_id = auth.uid());

-- Users can update their own participation data
CREATE POLICY "Users can update their participation" ON conversation_participants
FOR UPDATE USING (user_id = auth.uid());

-- Users can view messages in their conversations
CREATE POLICY "Users see their messages" ON direct_messages
FOR SELECT USING (
    EXISTS (
        SELECT 1 FROM conversation_participants
        WHERE conversation_id = direct_messages.conversation_id 
        AND user_id = auth.uid()
    )
);

-- Users can send messages to conversations they participate in
CREATE POLICY "Users can send messages" ON direct_messages
FOR INSERT WITH CHECK (
    sender_id = auth.uid() AND
    EXISTS (
        SELECT 1 FROM conversation_participants
        WHERE conversation_id = direct_messages.conversation_id 
        AND user_id = auth.uid()
    )
);

-- Users can soft delete their own messages
CREATE POLICY "Users can delete their messages" ON direct_messages
FOR UPDATE USING (
    sender_id = auth.uid() AND
    EXISTS (
        SELECT 1 FROM conversation_participants
        WHERE conversation_id = direct_messages.conversation_id 
        AND user_id = auth.uid()
    )
);

-- Function to set retention expiration based on user tier
CREATE OR REPLACE FUNCTION set_message_retention()
RETURNS TRIGGER AS $$
BEGIN
    -- Get sender's tier and set retention accordingly
    SELECT CASE 
        WHEN user_tier = 'privileged_plus' THEN NEW.sent_at + INTERVAL '365 days'
        WHEN user_tier = 'privileged' THEN NEW.sent_at + INTERVAL '180 days'
        ELSE NEW.sent_at + INTERVAL '30 days'
    END INTO NEW.retention_expires_at
    FROM users 
    WHERE id = NEW.sender_id;
    
    RETURN NEW;
END;
$$ LANGUAGE plpgsql;

-- Trigger to automatically set retention on message insert
CREATE TRIGGER set_message_retention_trigger
    BEFORE INSERT ON direct_messages
    FOR EACH ROW
    EXECUTE FUNCTION set_message_retention();

-- Function to clean up expired messages
CREATE OR REPLACE FUNCTION cleanup_expired_messages()
RETURNS INTEGER AS $$
DECLARE
    deleted_count INTEGER;
BEGIN
    DELETE FROM direct_messages 
    WHERE retention_expires_at < NOW() 
    AND is_deleted = true;
    
    GET DIAGNOSTICS deleted_count = ROW_COUNT;
    RETURN deleted_count;
END;
$$ LANGUAGE plpgsql;

-- Function to soft delete expired messages (first step)
CREATE OR REPLACE FUNCTION soft_delete_expired_messages()
RETURNS INTEGER AS $$
DECLARE
    updated_count INTEGER;
BEGIN
    UPDATE direct_messages 
    SET is_deleted = true, deleted_at = NOW()
    WHERE retention_expires_at < NOW() 
    AND is_deleted = false;
    
    GET DIAGNOSTICS updated_count = ROW_COUNT;
    RETURN updated_count;
END;
$$ LANGUAGE plpgsql;
